import { HandlerError } from '../protocol/errors.ts';
import { type ByteBudget, decodeHolding } from './decoded-images.ts';
import { type ImageDecodeOptions, inspectImage, type RgbImage } from './image-decode.ts';
import { fetchImage, type ImageFetchOptions } from './image-fetch.ts';

/** Where an image is, as text, or its file as it is. */
export type ImageSource = string | Uint8Array;

export interface ImageOptions extends ImageFetchOptions, ImageDecodeOptions {
  /** Where the memory of the pixels comes from. Without one there is no bound. */
  readonly decodedBudget?: ByteBudget;
  /** Loading ends with its reason when it aborts. */
  readonly signal?: AbortSignal | undefined;
}

/** Characters that one byte takes at most, percent-encoded. More text than that cannot be an image of the allowed size. */
const MAX_CHARACTERS_PER_BYTE = 3;
/** Room for `data:`, a media type and its parameters. */
const MAX_PREFIX_CHARACTERS = 1000;

export interface LoadedImage {
  /** It holds memory of the budget until `releaseImages`. */
  readonly image: RgbImage;
  readonly fetchMs: number;
  /** How long it waited for memory. */
  readonly queueMs: number;
  readonly decodeMs: number;
}

/**
 * The one gate for images: whatever the source, the same limits and the same decoder.
 * @param source an http(s) URL, a `data:` URI, base64 (plain or URL-safe), or the bytes of a file.
 * @throws HandlerError with an `IMAGE_…` code.
 */
export async function loadImage(source: ImageSource, options: ImageOptions): Promise<LoadedImage> {
  options.signal?.throwIfAborted();
  const startMs = performance.now();
  const bytes = await readSource(source, options);
  const fetchedMs = performance.now();
  const { decodedBytes, decode } = await inspectImage(bytes, options);
  const inspectedMs = performance.now();
  const release = (await options.decodedBudget?.acquire(decodedBytes)) ?? (() => undefined);
  const queueMs = performance.now() - inspectedMs;
  const decodeUnlessAborted = async () => {
    options.signal?.throwIfAborted();
    return await decode();
  };
  const image = await decodeHolding(decodeUnlessAborted, release);
  return { image, fetchMs: fetchedMs - startMs, queueMs, decodeMs: performance.now() - fetchedMs - queueMs };
}

function readSource(source: ImageSource, options: ImageOptions): Promise<Uint8Array> | Uint8Array {
  return typeof source === 'string' ? readText(source.trim(), options) : requireBytes(source, options.maxBytes);
}

function readText(source: string, options: ImageOptions): Promise<Uint8Array> | Uint8Array {
  if (/^data:/i.test(source)) return readDataUri(source, options.maxBytes);
  if (/^[a-z][a-z0-9+.-]*:/i.test(source)) return fetchImage(parseUrl(source), options);
  return decodeBase64(source, options.maxBytes);
}

function parseUrl(source: string): URL {
  if (!URL.canParse(source))
    throw new HandlerError('IMAGE_SOURCE_INVALID', 'Expected a URL, got one that does not parse.');
  return new URL(source);
}

/** `data:[<media type>][;base64],<data>` (RFC 2397). */
function readDataUri(source: string, maxBytes: number): Uint8Array {
  const comma = source.indexOf(',');
  if (comma === -1) {
    throw new HandlerError('IMAGE_SOURCE_INVALID', 'Expected a data: URI with a comma before its data, got none.');
  }
  requireText(source, maxBytes);
  const data = percentDecode(source.slice(comma + 1));
  if (/;base64$/i.test(source.slice(0, comma).trimEnd())) return decodeBase64(data, maxBytes);
  return requireBytes(Buffer.from(data, 'latin1'), maxBytes);
}

/** Percent-decodes to one byte per character. */
function percentDecode(data: string): string {
  return data.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function decodeBase64(text: string, maxBytes: number): Uint8Array {
  requireText(text, maxBytes);
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(text.replace(/\s+/g, ''))) {
    throw new HandlerError(
      'IMAGE_SOURCE_INVALID',
      `Expected a URL, a data: URI or base64, got ${text.length} characters of something else.`,
    );
  }
  return requireBytes(Buffer.from(text, 'base64'), maxBytes);
}

/** Refuses text before it is decoded, so that decoding is bounded too. */
function requireText(text: string, maxBytes: number): void {
  if (text.length > maxBytes * MAX_CHARACTERS_PER_BYTE + MAX_PREFIX_CHARACTERS) {
    throw new HandlerError(
      'IMAGE_TOO_LARGE',
      `Expected an image of at most ${maxBytes} bytes, got ${text.length} characters.`,
    );
  }
}

function requireBytes(bytes: Uint8Array, maxBytes: number): Uint8Array {
  if (bytes.length <= maxBytes) return bytes;
  throw new HandlerError('IMAGE_TOO_LARGE', `Expected an image of at most ${maxBytes} bytes, got ${bytes.length}.`);
}
