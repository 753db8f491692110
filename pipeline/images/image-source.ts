import { HandlerError } from '../../protocol/errors.ts';
import { type OnStage, watchStage } from '../stages.ts';
import { type ByteBudget, FixedByteBudget } from './byte-budget.ts';
import { recognizeFormat } from './formats/image-formats.ts';
import { decodeHolding } from './held-images.ts';
import { type ImageDecodeOptions, inspectImage } from './image-decode.ts';
import { fetchImage, type ImageFetchOptions } from './image-fetch.ts';
import { decodeBase64, readDataUri, requireBytes } from './inline-image.ts';
import type { RgbImage } from './rgb-image.ts';

/** An image: text that says where it is or contains it, or the bytes of its file. */
export type ImageSource = string | Uint8Array;

export interface ImageOptions extends ImageFetchOptions, ImageDecodeOptions {
  /** Bounds the memory of pixels. Without a budget there is no bound. */
  readonly decodedBudget?: ByteBudget;
  /** Ends the loading with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Whose image it is, where clients take turns. */
  readonly client?: string | undefined;
  /** Takes each stage of the loading when it is over. */
  readonly onStage?: OnStage | undefined;
}

/** Bounds encoded images from the network, in the process. Until an image is there, it counts as large as it may be. */
const MAX_FETCHED_BYTES = 600_000_000;
const MAX_SIGNATURE_CHARACTERS = 80;
const fetchedBudget = new FixedByteBudget(MAX_FETCHED_BYTES);

export interface LoadedImage {
  /** Holds memory of the budget until `releaseImages`. */
  readonly image: RgbImage;
  readonly fetchMs: number;
  /** The time it waited for memory, before it was fetched and before it was decoded. */
  readonly queueMs: number;
  readonly decodeMs: number;
}

/**
 * Loads an image. All images pass through here, so that every source meets the same limits and the same decoder.
 * @param source an http(s) URL, a `data:` URI, base64 (plain or URL-safe), or the bytes of a file.
 * @throws HandlerError with an `IMAGE_…` code; the signal's reason.
 */
export async function loadImage(source: ImageSource, options: ImageOptions): Promise<LoadedImage> {
  options.signal?.throwIfAborted();
  const requestedMs = performance.now();
  const { onStage } = options;
  const releaseFetched = await watchStage('queue', onStage, () => acquireFetched(source, options));
  try {
    const startMs = performance.now();
    const bytes = await watchStage('fetch', onStage, () => readSource(source, options));
    const fetchedMs = performance.now();
    const { decodedBytes, decode } = await watchStage('inspect', onStage, () => inspectImage(bytes, options));
    const inspectedMs = performance.now();
    // A joint budget lends to all images of a request at once. The others need this memory to be fetched.
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
      queueMs: startMs - requestedMs + decodeStartMs - inspectedMs,
      decodeMs: inspectedMs - fetchedMs + performance.now() - decodeStartMs,
    };
  } finally {
    releaseFetched();
  }
}

/** Inline images take nothing: they came with a request, whose body is bounded. */
async function acquireFetched(source: ImageSource, { maxBytes, signal }: ImageOptions): Promise<() => void> {
  if (typeof source !== 'string' || !/^\s*https?:/i.test(source)) return () => undefined;
  return await fetchedBudget.acquire(Math.min(maxBytes, MAX_FETCHED_BYTES), signal);
}

function readSource(source: ImageSource, options: ImageOptions): Promise<Uint8Array> | Uint8Array {
  if (typeof source !== 'string') return requireBytes(source, options.maxBytes);
  return isFile(source) ? requireBytes(Buffer.from(source), options.maxBytes) : readText(source.trim(), options);
}

function readText(source: string, options: ImageOptions): Promise<Uint8Array> | Uint8Array {
  if (/^data:/i.test(source)) return readDataUri(source, options.maxBytes);
  if (/^[a-z][a-z0-9+.-]*:/i.test(source)) return fetchImage(parseUrl(source), options);
  return decodeBase64(source, options.maxBytes);
}

/** Few files of images, such as those of a black bitmap, are also text in UTF-8, which a tensor of BYTES takes them for. */
function isFile(source: string): boolean {
  const start = source.slice(0, MAX_SIGNATURE_CHARACTERS);
  return start.includes('\0') && recognizeFormat(Buffer.from(start)) !== undefined;
}

function parseUrl(source: string): URL {
  if (!URL.canParse(source))
    throw new HandlerError('IMAGE_SOURCE_INVALID', 'Expected a URL, got one that does not parse.');
  return new URL(source);
}
