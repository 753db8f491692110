import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { ExecutionProvider } from './execution-provider-choices.ts';

/** Added to the bytes of each encoding, so that a bound of bytes bounds the number of images too. */
export const CACHE_ENTRY_BYTES = 512;

/** The bytes that one image takes in the cache. */
export function cachedImageBytes(checkpoint: Checkpoint): number {
  return cachedNumbers(checkpoint) * Float32Array.BYTES_PER_ELEMENT + CACHE_ENTRY_BYTES;
}

/** CLIP's embedding in its two lengths, the vectors that a language model reads, or vision states. */
function cachedNumbers(checkpoint: Checkpoint): number {
  if (checkpoint.task === 'clip') return 2 * checkpoint.config.projectionSize;
  const { config } = checkpoint;
  if ('language' in config && !config.readsInstruction) return config.queryCount * config.language.hiddenSize;
  return imageTokenCount(config.vision) * config.vision.hiddenSize;
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
