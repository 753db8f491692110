import type { ErrorCode } from '../../../protocol/errors.ts';
import type { ImageDecodeOptions } from '../image-decode.ts';

/** The headers of what a process and its decoder tell each other. Both are of one version, so their shapes are known. */

/** Precedes the bytes of a file. */
export interface DecodeRequest {
  readonly byteCount: number;
  readonly options: ImageDecodeOptions;
  /** The processor time that the decoder may use, in milliseconds. Without it there is no bound. */
  readonly decodeTimeoutMs?: number | undefined;
}

/** The decoder takes requests from now on. */
export interface DecoderReady {
  readonly kind: 'ready';
}

/** Precedes pixels: width x height x 3 bytes. */
export interface DecodedHeader {
  readonly kind: 'decoded';
  readonly width: number;
  readonly height: number;
}

export interface DecodeFailure {
  readonly kind: 'failed';
  readonly code: ErrorCode;
  readonly message: string;
}

/** The processor time is over. The decoder cannot stop, and is to be ended. */
export interface DecoderExhausted {
  readonly kind: 'exhausted';
}

export type DecoderMessage = DecoderReady | DecodedHeader | DecodeFailure | DecoderExhausted;
