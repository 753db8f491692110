import { imageTokenCount, type VisionConfig } from '../checkpoint/config/vision-config.ts';
import type { ChosenExecutionProvider } from './sessions/execution-provider-choices.ts';

/** How `BLIP_MAX_BATCH_SIZE=auto` is chosen: docs/decisions/0034-precision-and-devices.md. */

/** `auto` lets a batch have as many images as the provider makes use of. */
export type BatchSizeChoice = number | 'auto';

/** More images in a batch make each one hardly faster on a CPU, and the first one later. */
const CPU_IMAGES = 8;
/** The most images of a batch on a GPU. */
export const MAX_AUTOMATIC_IMAGES = 32;
/** Bytes of a batch on a GPU, beside the weights. Node cannot ask a card for its memory: small cards have that much. */
const GPU_BATCH_BYTES = 2_000_000_000;
/** Values of one token in a layer: before and after it, its norm, query, key, value, and those of attention. */
const HIDDEN_COPIES = 8;

const bytesOf = { float32: 4, float16: 2, bfloat16: 2 } as const;

/** The sizes of a model that the memory of an image depends on. */
export interface ImageMemory {
  readonly vision: Pick<VisionConfig, 'imageSize' | 'patchSize' | 'hiddenSize' | 'intermediateSize'>;
  readonly text: { readonly layerCount: number; readonly hiddenSize: number };
}

/** The most images of one batch. */
export function maxBatchSizeOn(
  choice: BatchSizeChoice,
  { executionProvider, precision }: Pick<ChosenExecutionProvider, 'executionProvider' | 'precision'>,
  sizes: ImageMemory,
): number {
  if (choice !== 'auto') return choice;
  if (executionProvider !== 'cuda') return CPU_IMAGES;
  const fitting = Math.floor(GPU_BATCH_BYTES / (valuesOf(sizes) * bytesOf[precision]));
  return Math.max(1, Math.min(MAX_AUTOMATIC_IMAGES, fitting));
}

/** The most images of a batch on any provider: for bounds that are set before the provider is known. */
export function largestBatchSize(choice: BatchSizeChoice): number {
  return choice === 'auto' ? MAX_AUTOMATIC_IMAGES : choice;
}

/** Numbers that a run holds for one image: one layer of the tower, and keys and values for each text layer. */
function valuesOf({ vision, text }: ImageMemory): number {
  const { hiddenSize, intermediateSize } = vision;
  const perToken = HIDDEN_COPIES * hiddenSize + intermediateSize + text.layerCount * 2 * text.hiddenSize;
  return imageTokenCount(vision) * perToken;
}
