import { HandlerError } from '../../protocol/errors.ts';

/** A percent-encoded byte takes three characters. A longer text cannot be an image of the allowed size. */
const MAX_CHARACTERS_PER_BYTE = 3;
/** Room for `data:`, a media type and its parameters. */
const MAX_PREFIX_CHARACTERS = 1000;

/**
 * Reads the bytes of `data:[<media type>][;base64],<data>` (RFC 2397).
 * @throws HandlerError `IMAGE_SOURCE_INVALID` or `IMAGE_TOO_LARGE`.
 */
export function readDataUri(source: string, maxBytes: number): Uint8Array {
  const comma = source.indexOf(',');
  if (comma === -1) {
    throw new HandlerError('IMAGE_SOURCE_INVALID', 'Expected a data: URI with a comma before its data, got none.');
  }
  requireText(source, maxBytes);
  const data = source.slice(comma + 1);
  if (!/;base64$/i.test(source.slice(0, comma).trimEnd())) return requireBytes(percentDecode(data), maxBytes);
  return decodeBase64(data.includes('%') ? percentDecode(data).toString('latin1') : data, maxBytes);
}

/**
 * Percent-decodes to one byte for each character. Characters that are no escape stay. It works byte by byte and in place,
 * because replacing twenty million matches of a pattern takes gigabytes, and holds up every other request for seconds.
 */
function percentDecode(data: string): Buffer {
  const bytes = Buffer.from(data, 'latin1');
  let end = 0;
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index] ?? 0;
    const escaped = byte === PERCENT_SIGN ? hexDigit(bytes[index + 1]) * 16 + hexDigit(bytes[index + 2]) : Number.NaN;
    const isEscape = !Number.isNaN(escaped);
    bytes[end] = isEscape ? escaped : byte;
    end += 1;
    if (isEscape) index += 2;
  }
  return bytes.subarray(0, end);
}

const PERCENT_SIGN = 0x25;

/** The value of a digit 0 to 9, a to f or A to F. NaN for other characters. */
function hexDigit(code = 0): number {
  const lowerCase = code | 0x20;
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return lowerCase >= 0x61 && lowerCase <= 0x66 ? lowerCase - 0x61 + 10 : Number.NaN;
}

/** Letters of both alphabets (plain and URL-safe), then up to two signs of padding, with space anywhere. */
const base64Pattern = /^\s*[a-z0-9+/_-][a-z0-9+/_\s-]*(?:=\s*){0,2}$/i;

/** @throws HandlerError `IMAGE_SOURCE_INVALID` or `IMAGE_TOO_LARGE`. */
export function decodeBase64(text: string, maxBytes: number): Uint8Array {
  requireText(text, maxBytes);
  if (!base64Pattern.test(text)) {
    throw new HandlerError(
      'IMAGE_SOURCE_INVALID',
      `Expected a URL, a data: URI or base64, got ${text.length} characters of something else.`,
    );
  }
  return requireBytes(Buffer.from(text, 'base64'), maxBytes);
}

/** Refuses too long a text before it is decoded, so that decoding is bounded too. */
function requireText(text: string, maxBytes: number): void {
  if (text.length > maxBytes * MAX_CHARACTERS_PER_BYTE + MAX_PREFIX_CHARACTERS) {
    throw new HandlerError(
      'IMAGE_TOO_LARGE',
      `Expected an image of at most ${maxBytes} bytes, got ${text.length} characters.`,
    );
  }
}

/**
 * The bytes, where they are not too many.
 * @throws HandlerError `IMAGE_TOO_LARGE`.
 */
export function requireBytes(bytes: Uint8Array, maxBytes: number): Uint8Array {
  if (bytes.length <= maxBytes) return bytes;
  throw new HandlerError('IMAGE_TOO_LARGE', `Expected an image of at most ${maxBytes} bytes, got ${bytes.length}.`);
}
