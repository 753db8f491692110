import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import { imageFeeds } from '../../pipeline/sessions/row-feeds.ts';
import type { RuntimeTensor } from '../../pipeline/sessions/runtime.ts';

/** Feeds of BLIP's graphs for images that all go through the vision model, in their order. */
export function newImages({ config }: BlipCheckpoint, pixels: RuntimeTensor): Record<string, RuntimeTensor> {
  const shape = [0, imageTokenCount(config.vision), config.vision.hiddenSize];
  const order = Array.from({ length: pixels.shape[0] ?? 0 }, (_, image) => image);
  return imageFeeds(pixels, { states: { data: new Float32Array(0), shape }, order });
}
