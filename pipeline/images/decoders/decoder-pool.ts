import { HandlerError } from '../../../protocol/errors.ts';
import { availableCpus } from '../../container-limits.ts';
import type { ImageDecodeOptions } from '../image-decode.ts';
import type { RgbImage } from '../rgb-image.ts';
import { DecoderEndedError, DecoderProcess, tooLong } from './decoder-process.ts';
import { FairSlots } from './fair-slots.ts';

/** One process, while it decodes. */
export const MAX_DECODER_BYTES = 300_000_000;
const MAX_PROCESSES = 4;
const MIN_PROCESSES = 2;
/** On a busy machine, a decoder may have to wait for this many times as long as it computes. */
const PATIENCE = 6;
/** Node's timers take no longer time. */
const MAX_TIMER_MS = 2_147_483_647;
/** An idle process takes 70 MB. */
const IDLE_MS = 10_000;

/** Who decodes something, and when it is given up. */
export interface DecodeCall {
  readonly client?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The processor time that decoding may take. Without it there is no bound. */
  readonly decodeTimeoutMs?: number | undefined;
  /** Milliseconds that the decoder may take. */
  readonly cost: number;
}

/** The most processes that decode at a time. */
export function maxDecoderCount(cpuCount: number = availableCpus()): number {
  return Math.max(MIN_PROCESSES, Math.min(MAX_PROCESSES, cpuCount));
}

/** Processes that decode images, which start when they are needed and end when they are not. */
export class DecoderPool {
  readonly #slots: FairSlots;
  /** Those that wait for work, with the timers that end them. */
  readonly #idle = new Map<DecoderProcess, NodeJS.Timeout>();

  readonly #idleMs: number;

  constructor(processCount = maxDecoderCount(), idleMs = IDLE_MS) {
    this.#slots = new FairSlots(processCount);
    this.#idleMs = idleMs;
  }

  /**
   * Decodes in another process, which is ended when the signal aborts or the time is over.
   * @throws HandlerError as `decodeImage` does; `IMAGE_TOO_COMPLEX` when the time is over; `IMAGE_CORRUPT` when two
   *   processes end over the image; the signal's reason.
   */
  async decode(bytes: Uint8Array, options: ImageDecodeOptions, call: DecodeCall): Promise<RgbImage> {
    return await this.#slots.run(call, async () => {
      try {
        return await this.#decodeOnce(bytes, options, call);
      } catch (thrown) {
        if (!(thrown instanceof DecoderEndedError)) throw thrown;
      }
      // The system may have ended the first process for want of memory. An image that ends two is to blame.
      return await this.#decodeOnce(bytes, options, call).catch(orCorrupt);
    });
  }

  async #decodeOnce(bytes: Uint8Array, options: ImageDecodeOptions, call: DecodeCall): Promise<RgbImage> {
    const decoder = this.#takeIdle() ?? new DecoderProcess();
    decoder.setKeepsAlive(true);
    try {
      return await decodeUnlessStopped(decoder, bytes, options, call);
    } finally {
      this.#keepIdle(decoder);
    }
  }

  #takeIdle(): DecoderProcess | undefined {
    for (const [decoder, timer] of this.#idle) {
      this.#idle.delete(decoder);
      clearTimeout(timer);
      if (!decoder.hasEnded) return decoder;
    }
    return undefined;
  }

  #keepIdle(decoder: DecoderProcess): void {
    decoder.setKeepsAlive(false);
    if (decoder.hasEnded) return;
    const end = () => {
      this.#idle.delete(decoder);
      decoder.end();
    };
    this.#idle.set(decoder, setTimeout(end, this.#idleMs).unref());
  }
}

function orCorrupt(thrown: unknown): never {
  if (!(thrown instanceof DecoderEndedError)) throw thrown;
  const message = 'Expected an image that decodes, got one that ended its decoder.';
  throw new HandlerError('IMAGE_CORRUPT', message, { cause: thrown });
}

async function decodeUnlessStopped(
  decoder: DecoderProcess,
  bytes: Uint8Array,
  options: ImageDecodeOptions,
  { signal, decodeTimeoutMs }: DecodeCall,
): Promise<RgbImage> {
  const stopped = new AbortController();
  const stop = (reason: unknown) => {
    stopped.abort(reason);
    decoder.end();
  };
  const leave = () => stop(signal?.reason);
  signal?.addEventListener('abort', leave, { once: true });
  // The decoder counts its own processor time. One that uses none is given up here.
  const patienceMs = Math.min((decodeTimeoutMs ?? 0) * PATIENCE, MAX_TIMER_MS);
  const timer = patienceMs === 0 ? undefined : setTimeout(() => stop(tooLong(decodeTimeoutMs)), patienceMs);
  try {
    signal?.throwIfAborted();
    return await decoder.decode(bytes, options, decodeTimeoutMs);
  } catch (thrown) {
    stopped.signal.throwIfAborted();
    throw thrown;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', leave);
  }
}
