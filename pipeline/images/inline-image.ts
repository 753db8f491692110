import { HandlerError } from '../../protocol/errors.ts';
import { hasLostPlus, isMistakenForBase64, lostPlusError, unreadableSource } from './unreadable-source.ts';

/** A percent-encoded byte takes three characters. A longer text cannot be an image of the allowed size. */
const MAX_CHARACTERS_PER_BYTE = 3;
/** Room for `data:`, a media type and its parameters. */
const MAX_PREFIX_CHARACTERS = 1000;

/** The beginnings of images in base64: JPEG, PNG, GIF, WebP. */
const imageInBase64 = /^(?:\/9j\/|iVBORw0KGgo|R0lGOD|UklGR)/;

/**
 * Reads the bytes of `data:[<media type>][;base64],<data>`, as browsers do: spaces may stand around the media type and
 * before `base64`, and a fragment of base64 is left out. The letters of base64 may be percent-encoded, or those of URLs.
 * Source: fetch.spec.whatwg.org, "data: URL processor".
 * @throws HandlerError `IMAGE_SOURCE_INVALID` or `IMAGE_TOO_LARGE`.
 */
export function readDataUri(source: string, maxBytes: number): Uint8Array {
  requireText(source, maxBytes);
  const comma = source.indexOf(',');
  if (comma === -1) throw invalid('Expected a data: URI with a comma before its data, got none.');
  if (comma > MAX_PREFIX_CHARACTERS)
    throw invalid(`Expected a data: URI with at most ${MAX_PREFIX_CHARACTERS} characters before its data, got more.`);
  const data = source.slice(comma + 1);
  const mediaType = source.slice(0, comma).replace(/[\t\n\r]/g, '');
  if (/; *base64 *$/i.test(mediaType)) return decodeBase64(withoutFragment(data), maxBytes);
  if (imageInBase64.test(data.trimStart().slice(0, 20)))
    throw invalid('Expected a data: URI with ;base64 before its comma, as its data are base64, got one without it.');
  return requireBytes(percentDecode(data), maxBytes);
}

/** In base64 a number sign can only begin a fragment. */
function withoutFragment(data: string): string {
  const hash = data.indexOf('#');
  return hash === -1 ? data : data.slice(0, hash);
}

function invalid(message: string): HandlerError {
  return new HandlerError('IMAGE_SOURCE_INVALID', message);
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

/**
 * Decodes base64, percent-encoded or not, with line breaks or without.
 * @throws HandlerError `IMAGE_SOURCE_INVALID` or `IMAGE_TOO_LARGE`.
 */
export function decodeBase64(encoded: string, maxBytes: number): Uint8Array {
  requireText(encoded, maxBytes);
  const text = (encoded.includes('%') ? percentDecode(encoded).toString('latin1') : encoded).trim();
  if (!base64Pattern.test(text) || isMistakenForBase64(text)) throw unreadableSource(encoded.trim());
  if (hasLostPlus(text)) throw isProse(text) ? unreadableSource(encoded.trim()) : lostPlusError();
  return requireBytes(Buffer.from(text, 'base64'), maxBytes);
}

/** Lost pluses and line breaks of base64 stand further apart than the spaces of a text. */
const MAX_LETTERS_PER_WORD = 20;

/** Whether a text is one of words, such as a prompt in place of the image. */
function isProse(text: string): boolean {
  const head = text.slice(0, MAX_PREFIX_CHARACTERS);
  return !imageInBase64.test(head) && head.split(' ').length - 1 > head.length / MAX_LETTERS_PER_WORD;
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
