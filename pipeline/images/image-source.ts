import { HandlerError } from '../../protocol/errors.ts';
import { type OnStage, watchStage } from '../stages.ts';
import type { ByteBudget } from './byte-budget.ts';
import {
  type DecodingOptions,
  decodeInTurn,
  enterCostlyTurn,
  inspectInTurn,
  isDecodedApart,
} from './decoding-places.ts';
import { fetchFailure, hostPhrase, writtenHost } from './fetch-failures.ts';
import { FetchTurns } from './fetch-turns.ts';
import { FetchedByteBudget, type FetchedBytes } from './fetched-bytes.ts';
import { recognizeFormat } from './formats/image-formats.ts';
import { decodeHolding } from './held-images.ts';
import type { InspectedImage } from './image-decode.ts';
import { fetchImage, type ImageFetchOptions } from './image-fetch.ts';
import { decodeBase64, readDataUri, requireBytes } from './inline-image.ts';
import type { LoadStep } from './load-step.ts';
import type { RgbImage } from './rgb-image.ts';
import { unreadableSource } from './unreadable-source.ts';

/** An image: text that says where it is or contains it, or the bytes of its file. */
export type ImageSource = string | Uint8Array;

export interface ImageOptions extends ImageFetchOptions, DecodingOptions {
  /** Bounds the memory of pixels. Without a budget there is no bound. */
  readonly decodedBudget?: ByteBudget;
  /** Ends the loading with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Whose image it is, where clients take turns. */
  readonly client?: string | undefined;
  /** Takes each stage of the loading when it is over. */
  readonly onStage?: OnStage | undefined;
  /** Told how soon the image will be decoded, whenever that changes. */
  readonly onStep?: ((step: LoadStep) => void) | undefined;
}

const MAX_SIGNATURE_CHARACTERS = 80;
/** The fetches of the process, which take turns, and the memory of what they bring. */
const fetchTurns = new FetchTurns();
const fetchedBudget = new FetchedByteBudget();

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
  const { onStage, onStep, client, signal } = options;
  const url = networkUrl(source);
  onStep?.(url === undefined ? 'near' : 'away');
  const endTurn = url && (await watchStage('queue', onStage, () => fetchTurns.take(client, url.host, signal)));
  const fetchedBytes = fetchedBudget.open(client, signal);
  try {
    const startMs = performance.now();
    const read = () => readSource(source, url, options, fetchedBytes);
    const { bytes, failure } = await watchStage('fetch', onStage, read).finally(endTurn);
    const fetchedMs = performance.now();
    onStep?.('near');
    const inspect = () => inspectInTurn(bytes, options);
    const inspected = await watchStage('inspect', onStage, inspect).catch(orElse(failure));
    const inspectedMs = performance.now();
    // A joint budget lends to all images of a request at once. The others need this memory to be fetched.
    if (options.decodedBudget?.isJoint) fetchedBytes.waitForOthers(bytes.length);
    onStep?.('held-up');
    const { release, leaveTurn } = await watchStage('queue', onStage, () => acquireDecoded(inspected, options));
    const decodeStartMs = performance.now();
    onStep?.(isDecodedApart(inspected) ? 'away' : 'near');
    const decode = () => decodeHolding(() => decodeInTurn(inspected, options), release);
    const image = await watchStage('decode', onStage, decode).finally(leaveTurn);
    return {
      image,
      fetchMs: fetchedMs - startMs,
      queueMs: startMs - requestedMs + decodeStartMs - inspectedMs,
      decodeMs: inspectedMs - fetchedMs + performance.now() - decodeStartMs,
    };
  } finally {
    fetchedBytes.release();
  }
}

/**
 * Takes the memory of an image's pixels, when its turn comes to have any. Images of a joint budget take theirs together,
 * so they wait for no turn before.
 */
async function acquireDecoded(image: InspectedImage, options: ImageOptions) {
  const { decodedBudget, signal, client } = options;
  const leaveTurn = decodedBudget?.isJoint ? () => undefined : await enterCostlyTurn(image, options);
  try {
    const release = await decodedBudget?.acquire(image.decodedBytes, signal, client);
    return { release: release ?? (() => undefined), leaveTurn };
  } catch (thrown) {
    leaveTurn();
    throw thrown;
  }
}

/** The URL of an image from the network. @throws HandlerError `IMAGE_SOURCE_INVALID`. */
function networkUrl(source: ImageSource): URL | undefined {
  if (typeof source !== 'string' || !/^\s*https?:/i.test(source)) return undefined;
  return parseUrl(source.trim());
}

/** The bytes of an image, and why they may be no image. */
interface ReadSource {
  readonly bytes: Uint8Array;
  readonly failure?: HandlerError;
}

/** Inline images take no memory of the budget: they came with a request, whose body is bounded. */
async function readSource(
  source: ImageSource,
  url: URL | undefined,
  options: ImageOptions,
  fetchedBytes: FetchedBytes,
): Promise<ReadSource> {
  if (typeof source !== 'string') return { bytes: requireBytes(source, options.maxBytes) };
  if (isFile(source)) return { bytes: requireBytes(Buffer.from(source), options.maxBytes) };
  if (url === undefined) return { bytes: readText(source.trim(), options) };
  const host = writtenHost(source);
  const { bytes, codingError } = await fetchImage(url, options, { host, fetchedBytes });
  if (codingError === undefined) return { bytes };
  return { bytes, failure: fetchFailure(codingError, hostPhrase(host, false), options.maxBytes) };
}

/** The failure in place of that of bytes that are no image. */
function orElse(failure: HandlerError | undefined): (thrown: unknown) => never {
  return (thrown) => {
    throw thrown instanceof HandlerError && thrown.code === 'IMAGE_UNSUPPORTED' ? (failure ?? thrown) : thrown;
  };
}

function readText(source: string, options: ImageOptions): Uint8Array {
  if (/^data:/i.test(source)) return readDataUri(source, options.maxBytes);
  if (/^[a-z][a-z0-9+.-]*:/i.test(source)) throw unreadableSource(source);
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
