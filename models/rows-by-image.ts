import { int64, int64s } from '../onnx/constants.ts';
import { elementTypeNumbers } from '../onnx/element-type.ts';
import type { Scope, Value } from '../onnx/graph.ts';
import * as op from '../onnx/operators.ts';
import { asRows } from './layers.ts';
import type { Module } from './module.ts';

/**
 * Which rows of text ask about which image. Rows of one image sit side by side in its slots, so that attention reads
 * the image's keys and values once for all of them; an image with fewer rows than another has slots that repeat row 0.
 */
export interface RowsByImage {
  /** [images, slots]: the row in each slot. */
  readonly slotRows: Value<'int64'>;
  /** [rows]: the slot of each row, counted over all images. */
  readonly rowSlots: Value<'int64'>;
  /** The shapes [rows, -1, width] and [images * slots, -1, width], and the width of hidden states. */
  readonly rowShape: Value<'int64'>;
  readonly slotShape: Value<'int64'>;
  readonly width: number;
}

/**
 * @param imageIndex [rows]: the image of each row.
 * @param imageCount 1-D of one element.
 * @param width of the hidden states that `toImages` and `toRows` move.
 */
export function rowsByImage(
  parent: Scope,
  imageIndex: Value<'int64'>,
  imageCount: Value<'int64'>,
  width: number,
): RowsByImage {
  const scope = { ...parent, path: 'rows_by_image' };
  const rowCount = op.dimension(scope, imageIndex, 0);
  const sameImage = op.equal(scope, op.unsqueeze(scope, imageIndex, [1]), op.unsqueeze(scope, imageIndex, [0])); // [rows, rows]
  const earlier = op.lowerTriangle(scope, op.cast(scope, sameImage, 'int64', elementTypeNumbers.int64), -1);
  const slotInImage = op.reduceSum(scope, earlier, 1); // [rows]: how many earlier rows share the image
  const slotsPerImage = op.add(scope, op.reduceMax(scope, slotInImage, 0, true), int64s(scope, [1])); // [1]
  const slotCount = op.mul(scope, imageCount, slotsPerImage);
  const rowSlots = op.add(scope, op.mul(scope, imageIndex, slotsPerImage), slotInImage);
  const rows = op.range(scope, int64(scope, 0), op.squeeze(scope, rowCount, [0]), int64(scope, 1));
  const empty = op.expand(scope, int64(scope, 0), [slotCount]);
  const slotRows = op.reshape(scope, op.scatterElements(scope, empty, rowSlots, rows, 0), [imageCount, slotsPerImage]);
  return {
    slotRows,
    rowSlots,
    rowShape: op.shape(scope, [rowCount, -1, width]),
    slotShape: op.shape(scope, [slotCount, -1, width]),
    width,
  };
}

/** Row i is all that looks at image i. */
export function oneRowPerImage(parent: Scope, rowCount: Value<'int64'>, width: number): RowsByImage {
  const scope = { ...parent, path: 'one_row_per_image' };
  const rows = op.range(scope, int64(scope, 0), op.squeeze(scope, rowCount, [0]), int64(scope, 1));
  const shape = op.shape(scope, [rowCount, -1, width]);
  return { slotRows: op.unsqueeze(scope, rows, [1]), rowSlots: rows, rowShape: shape, slotShape: shape, width };
}

/** [rows * n, width] → [images, slots * n, width]. */
export function toImages(scope: Scope, rows: RowsByImage, x: Value<'float32'>): Value<'float32'> {
  const bySlot = op.gather(scope, op.reshapeTo(scope, x, rows.rowShape), rows.slotRows, 0); // [images, slots, n, width]
  return op.reshape(scope, bySlot, [0, -1, rows.width]);
}

/** [images, slots * n, width] → [rows * n, width]. */
export function toRows(module: Module, rows: RowsByImage, x: Value<'float32'>): Value<'float32'> {
  const byRow = op.gather(module, op.reshapeTo(module, x, rows.slotShape), rows.rowSlots, 0); // [rows, n, width]
  return asRows(module, byRow, rows.width);
}
