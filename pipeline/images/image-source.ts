import { HandlerError } from '../../protocol/errors.ts';
import { type OnStage, watchStage } from '../stages.ts';
import { type ByteBudget, FixedByteBudget } from './byte-budget.ts';
import { decodeHolding } from './held-images.ts';
import { type ImageDecodeOptions, inspectImage, type RgbImage } from './image-decode.ts';
import { fetchImage, type ImageFetchOptions } from './image-fetch.ts';

/** Where an image is, as text, or its file as it is. */
export type ImageSource = string | Uint8Array;

export interface ImageOptions extends ImageFetchOptions, ImageDecodeOptions {
  /** Where the memory of the pixels comes from. Without one there is no bound. */
  readonly decodedBudget?: ByteBudget;
  /** Loading ends with its reason when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Is told of the stages of loading. */
  readonly onStage?: OnStage | undefined;
}

/** Characters that one byte takes at most, percent-encoded. More text than that cannot be an image of the allowed size. */
const MAX_CHARACTERS_PER_BYTE = 3;
/** Room for `data:`, a media type and its parameters. */
const MAX_PREFIX_CHARACTERS = 1000;

/** Encoded images from the network, in the process. Before an image is there, it counts as large as it may be. */
const MAX_FETCHED_BYTES = 600_000_000;
const fetchedBudget = new FixedByteBudget(MAX_FETCHED_BYTES);

export interface LoadedImage {
  /** It holds memory of the budget until `releaseImages`. */
  readonly image: RgbImage;
  readonly fetchMs: number;
  /** How long it waited for memory, before it was fetched and before it was decoded. */
  readonly queueMs: number;
  readonly decodeMs: number;
}

/**
 * The one gate for images: whatever the source, the same limits and the same decoder.
 * @param source an http(s) URL, a `data:` URI, base64 (plain or URL-safe), or the bytes of a file.
 * @throws HandlerError with an `IMAGE_…` code; the signal's reason.
 */
export async function loadImage(source: ImageSource, options: ImageOptions): Promise<LoadedImage> {
  options.signal?.throwIfAborted();
  const askedMs = performance.now();
  const { onStage } = options;
  const releaseFetched = await watchStage('queue', onStage, () => acquireFetched(source, options));
  try {
    const startMs = performance.now();
    const bytes = await watchStage('fetch', onStage, () => readSource(source, options));
    const fetchedMs = performance.now();
    const { decodedBytes, decode } = await watchStage('inspect', onStage, () => inspectImage(bytes, options));
    const inspectedMs = performance.now();
    // The images that it waits for have to be fetched too.
    if (options.decodedBudget?.isJoint) releaseFetched();
    const acquire = async () => await options.decodedBudget?.acquire(decodedBytes, options.signal);
    const release = (await watchStage('queue', onStage, acquire)) ?? (() => undefined);
    const decodeStartMs = performance.now();
    const decodeUnlessAborted = async () => {
      options.signal?.throwIfAborted();
      return await decode();
    };
    const image = await watchStage('decode', onStage, () => decodeHolding(decodeUnlessAborted, release));
    return {
      image,
      fetchMs: fetchedMs - startMs,
      queueMs: startMs - askedMs + decodeStartMs - inspectedMs,
      decodeMs: inspectedMs - fetchedMs + performance.now() - decodeStartMs,
    };
  } finally {
    releaseFetched();
  }
}

/** What is inline came with its request, whose body is bounded. */
async function acquireFetched(source: ImageSource, { maxBytes, signal }: ImageOptions): Promise<() => void> {
  if (typeof source !== 'string' || !/^\s*https?:/i.test(source)) return () => undefined;
  return await fetchedBudget.acquire(Math.min(maxBytes, MAX_FETCHED_BYTES), signal);
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
  const data = source.slice(comma + 1);
  if (!/;base64$/i.test(source.slice(0, comma).trimEnd())) return requireBytes(percentDecode(data), maxBytes);
  return decodeBase64(data.includes('%') ? percentDecode(data).toString('latin1') : data, maxBytes);
}

/**
 * Percent-decodes to one byte per character; what is no escape stays. Byte by byte, in place: to replace twenty million
 * matches of a pattern takes gigabytes, and many seconds of every other request.
 */
function percentDecode(data: string): Buffer {
  const bytes = Buffer.from(data, 'latin1');
  let end = 0;
  for (let place = 0; place < bytes.length; place += 1) {
    const byte = bytes[place] ?? 0;
    const escaped = byte === PERCENT_SIGN ? hexDigit(bytes[place + 1]) * 16 + hexDigit(bytes[place + 2]) : Number.NaN;
    const isEscape = !Number.isNaN(escaped);
    bytes[end] = isEscape ? escaped : byte;
    end += 1;
    if (isEscape) place += 2;
  }
  return bytes.subarray(0, end);
}

const PERCENT_SIGN = 0x25;

/** The value of a digit 0 to 9, a to f or A to F; else not a number. */
function hexDigit(code = 0): number {
  const lowerCase = code | 0x20;
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return lowerCase >= 0x61 && lowerCase <= 0x66 ? lowerCase - 0x61 + 10 : Number.NaN;
}

/** Letters of both alphabets and up to two signs of padding, with space anywhere. */
const base64Pattern = /^\s*[a-z0-9+/_-][a-z0-9+/_\s-]*(?:=\s*){0,2}$/i;

function decodeBase64(text: string, maxBytes: number): Uint8Array {
  requireText(text, maxBytes);
  if (!base64Pattern.test(text)) {
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
