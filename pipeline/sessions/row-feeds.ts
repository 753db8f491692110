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

/** The prompts as a Q-Former reads them, of rows that have one: all rows of a batch do, or none does. */
export function instructionFeeds(
  rows: readonly { readonly instructionIds?: readonly number[] }[],
): Record<string, RuntimeTensor> {
  const instructions = rows.map(({ instructionIds }) => instructionIds).filter((ids) => ids !== undefined);
  if (instructions.length === 0) return {};
  const { ids, lengths } = paddedRows(instructions);
  return { instruction_ids: ids, instruction_length: lengths };
}

/** Images whose vision states are known: the states float32 [known images, tokens, width], and the place of each image. */
interface KnownImages {
  readonly states: RuntimeTensor;
  /** Of all images, among the new ones and, after them, the known ones. */
  readonly order: readonly number[];
}

/**
 * The images of a run, under the names of the inputs of BLIP's graphs (models/towers/vision-states.ts).
 * @param pixels of the new images, uint8 [new images, size, size, 3].
 */
export function imageFeeds(pixels: RuntimeTensor, { states, order }: KnownImages): Record<string, RuntimeTensor> {
  return { images: pixels, known_vision_states: states, image_order: runtimeInt64s(order) };
}

/** Some of the images uint8 [images, size, size, 3], by their indices. */
export function selectedImages(all: RuntimeTensor, images: readonly number[]): RuntimeTensor {
  const [imageCount = 0, ...imageShape] = all.shape;
  if (images.length === imageCount && images.every((image, index) => image === index)) return all;
  const length = imageShape.reduce((product, size) => product * size, 1);
  const selected = new Uint8Array(images.length * length);
  for (const [index, image] of images.entries()) selected.set(pixelsOf(all, image), index * length);
  return { data: selected, shape: [images.length, ...imageShape] };
}

/** One of the images uint8 [images, size, size, 3], without a copy. */
export function pixelsOf({ data, shape }: RuntimeTensor, image: number): Uint8Array {
  const length = data.length / (shape[0] ?? 1);
  const pixels = data.subarray(image * length, (image + 1) * length);
  if (!(pixels instanceof Uint8Array)) throw new TypeError('Expected images as uint8.');
  return pixels;
}
