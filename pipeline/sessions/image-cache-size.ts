import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { ExecutionProvider } from './execution-provider-choices.ts';

/** Added to the bytes of each encoding, so that a bound of bytes bounds the number of images too. */
export const CACHE_ENTRY_BYTES = 512;

/** The bytes that one image takes in the cache: its vision states, or CLIP's embedding in its two lengths. */
export function cachedImageBytes(checkpoint: Checkpoint): number {
  const { vision } = checkpoint.config;
  const numbers =
    checkpoint.task === 'clip' ? 2 * checkpoint.config.projectionSize : imageTokenCount(vision) * vision.hiddenSize;
  return numbers * Float32Array.BYTES_PER_ELEMENT + CACHE_ENTRY_BYTES;
}

/** Each worker has an equal part of the bytes of a model. */
export function cacheBytesOfWorker(cacheBytes: number, workerCount: number): number {
  return Math.floor(cacheBytes / workerCount);
}

/** Why a model's cache of images keeps nothing; `undefined` where it keeps some, or is off. */
export function imageCacheNotice(
  imageCacheBytes: number,
  workerCount: number,
  checkpoint: Checkpoint,
  executionProvider: ExecutionProvider,
): string | undefined {
  if (imageCacheBytes === 0) return undefined;
  if (executionProvider === 'cuda' && checkpoint.task !== 'clip')
    return 'BLIP_IMAGE_CACHE_BYTES has no effect on cuda: the graph for GPUs encodes all images of a batch.';
  const imageBytes = cachedImageBytes(checkpoint);
  if (cacheBytesOfWorker(imageCacheBytes, workerCount) >= imageBytes) return undefined;
  const least = workerCount * imageBytes;
  return `BLIP_IMAGE_CACHE_BYTES has no effect below ${least}, the bytes of an image of this model in each worker.`;
}
