import type { OfImage } from './row-batch.ts';
import type { RuntimeTensor } from './runtime.ts';
import { paddedRows, runtimeInt64s } from './tensors.ts';

/** Feeds that the graphs of captioning, question answering and ranking share, under the names of their inputs. */

/** The image of each row, and the questions of rows that have one: all rows of a batch do, or none does. */
export function questionFeeds(
  rows: readonly OfImage<{ readonly questionIds?: readonly number[] }>[],
): Record<string, RuntimeTensor> {
  const imageIndex = { image_index: runtimeInt64s(rows.map(({ image }) => image)) };
  const questions = rows.map(({ questionIds }) => questionIds).filter((ids) => ids !== undefined);
  if (questions.length === 0) return imageIndex;
  const { ids, lengths } = paddedRows(questions);
  return { ...imageIndex, question_ids: ids, question_length: lengths };
}

/** Some of the images uint8 [images, size, size, 3], by their indices. */
export function selectedImages({ data, shape }: RuntimeTensor, images: readonly number[]): RuntimeTensor {
  const [, ...imageShape] = shape;
  const length = imageShape.reduce((product, size) => product * size, 1);
  const selected = new Uint8Array(images.length * length);
  for (const [index, image] of images.entries()) {
    const pixels = data.subarray(image * length, (image + 1) * length);
    if (!(pixels instanceof Uint8Array)) throw new TypeError('Expected images as uint8.');
    selected.set(pixels, index * length);
  }
  return { data: selected, shape: [images.length, ...imageShape] };
}
