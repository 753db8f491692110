import type { Blip2RetrievalCheckpoint, BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { GraphForm } from '../../models/module.ts';
import { imageFeeds } from '../../pipeline/sessions/row-feeds.ts';
import type { RuntimeTensor } from '../../pipeline/sessions/runtime.ts';

/** Feeds of the graphs of BLIP and of retrieval for images that all go through the vision model, in their order. The lean form knows no others. */
export function newImages(
  { config }: BlipCheckpoint | Blip2RetrievalCheckpoint,
  pixels: RuntimeTensor,
  form: GraphForm = 'plain',
): Record<string, RuntimeTensor> {
  const stateShape = [imageTokenCount(config.vision), config.vision.hiddenSize];
  return allNew(pixels, form === 'lean' ? undefined : stateShape);
}

/** @param stateShape of what is known of an image, where a graph takes such images. */
export function allNew(
  pixels: RuntimeTensor,
  stateShape: readonly number[] | undefined,
): Record<string, RuntimeTensor> {
  if (stateShape === undefined) return { images: pixels };
  const order = Array.from({ length: pixels.shape[0] ?? 0 }, (_, image) => image);
  return imageFeeds(pixels, { states: { data: new Float32Array(0), shape: [0, ...stateShape] }, order });
}
