import { DecoderPool } from './decoders/decoder-pool.ts';
import { FairSlots } from './decoders/fair-slots.ts';
import { type ImageDecodeOptions, type InspectedImage, inspectImage } from './image-decode.ts';
import type { RgbImage } from './rgb-image.ts';

/** Where images are decoded, and whose turn it is: docs/decisions/0029-where-images-are-decoded.md. */

/** Whose image it is, and when it is given up. */
export interface DecodingOptions extends ImageDecodeOptions {
  readonly client?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The processor time that decoding a costly image may take. Without it there is no bound. */
  readonly decodeTimeoutMs?: number | undefined;
}

/** An image that may take longer is decoded in another process, which can be ended. Full-HD AVIF is below it. */
const MAX_IN_PROCESS_MS = 400;
/** An image whose cost is unknown counts as one that takes this long. */
const MAX_TURN_MS = 5_000;
/** Of libuv, where the variable is not set. */
const DEFAULT_THREADS = 4;
/** libuv's threads also read files and find the addresses of names, so one is always left to them. */
const threadCount = Math.max(1, (Number(process.env['UV_THREADPOOL_SIZE']) || DEFAULT_THREADS) - 1);
const threads = new FairSlots(threadCount);
/** An image of 2.5 megapixels of JPEG or PNG is below it. */
const MAX_QUICK_MS = 15;
/**
 * More quick work than there are threads may be handed to libuv, whose own queue loses no time between two pieces of it. All
 * of it together delays other work by 60 ms on four threads.
 */
const quickWork = new FairSlots(16);
const decoders = new DecoderPool();
/** Those of one client that may hold memory before a decoder is free: no more than will be decoded next. */
const costlyTurns = new FairSlots(Number.POSITIVE_INFINITY, 2);

/** Inspects an image when its client's turn comes. @throws as `inspectImage` does; the signal's reason. */
export async function inspectInTurn(bytes: Uint8Array, options: DecodingOptions): Promise<InspectedImage> {
  const { client, signal } = options;
  return await quickWork.run({ client, signal, cost: 1 }, () => inspectImage(bytes, options));
}

/** Whether an image takes so long that it is decoded in a process of its own. */
export function isDecodedApart({ costMs }: InspectedImage): boolean {
  return costMs > MAX_IN_PROCESS_MS;
}

/**
 * Waits until an image may take memory. Costly images of one client would else hold all memory while they wait.
 * @returns the function to call when the image is decoded.
 */
export async function enterCostlyTurn(image: InspectedImage, { client, signal }: DecodingOptions): Promise<() => void> {
  if (!isDecodedApart(image)) return () => undefined;
  return await costlyTurns.enter({ client, signal, cost: turnCost(image) });
}

/**
 * Decodes an image when its client's turn comes, in a thread of this process or in a process of its own.
 * @throws as `decodeImage` does; `IMAGE_TOO_COMPLEX` when it takes too long; the signal's reason.
 */
export async function decodeInTurn(image: InspectedImage, options: DecodingOptions): Promise<RgbImage> {
  const { client, signal, decodeTimeoutMs } = options;
  const call = { client, signal, decodeTimeoutMs, cost: turnCost(image) };
  if (isDecodedApart(image)) return await decoders.decode(image.bytes, options, call);
  const slots = image.costMs > MAX_QUICK_MS ? threads : quickWork;
  return await slots.run(call, () => image.decode());
}

/** Turns are counted in finite numbers. */
function turnCost({ costMs }: InspectedImage): number {
  return Math.min(costMs, MAX_TURN_MS);
}
