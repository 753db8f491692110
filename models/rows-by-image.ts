import type { Real } from '../onnx/element-type.ts';
import type { Value } from '../onnx/graph.ts';
import type { TargetShape } from '../onnx/operators.ts';
import { createScope, type Scope } from '../onnx/scope.ts';
import { asRows } from './layers.ts';
import type { Module } from './module.ts';

/** Which rows of text ask about which image. */
export type RowsByImage = MovedRows | OrderedRows;

/**
 * Rows of one image sit side by side in its slots, so that attention reads the image's keys and values once for all of them;
 * an image with fewer rows than another has slots that repeat row 0.
 */
export interface MovedRows {
  /** [images, slots]: the row in each slot. */
  readonly slotRows: Value<'int64'>;
  /** [rows]: the slot of each row, counted over all images. */
  readonly rowSlots: Value<'int64'>;
  /** The shapes [rows, -1, width] and [images * slots, -1, width], and the width of hidden states. */
  readonly rowShape: TargetShape;
  readonly slotShape: TargetShape;
  readonly width: number;
}

/** Row i is in slot i: images have equally many rows, which stand in their order. So nothing has to move. */
export interface OrderedRows {
  /** The shape [images, -1, width], and the width of hidden states. */
  readonly imageShape: TargetShape;
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
): MovedRows {
  const { op } = createScope(parent.op.graph, 'rows_by_image');
  const rowCount = op.dimension(imageIndex, 0);
  const sameImage = op.equal(op.unsqueeze(imageIndex, [1]), op.unsqueeze(imageIndex, [0])); // [rows, rows]
  const earlier = op.lowerTriangle(op.cast(sameImage, 'int64'), -1);
  const slotInImage = op.reduceSum(earlier, 1); // [rows]: how many earlier rows share the image
  const slotsPerImage = op.add(op.reduceMax(slotInImage, 0, true), [1]); // [1]
  const slotCount = op.mul(imageCount, slotsPerImage);
  const rowSlots = op.add(op.mul(imageIndex, slotsPerImage), slotInImage);
  const rows = op.countTo(rowCount);
  const empty = op.expand(op.constant('int64', 0), [slotCount]);
  const slotRows = op.reshape(op.scatterElements(empty, rowSlots, rows, 0), [imageCount, slotsPerImage]);
  return {
    slotRows,
    rowSlots,
    rowShape: op.shape([rowCount, -1, width]),
    slotShape: op.shape([slotCount, -1, width]),
    width,
  };
}

/** Row i is the only one that looks at image i. */
export function oneRowPerImage(parent: Module, rowCount: Value<'int64'>, width: number): RowsByImage {
  const { op } = createScope(parent.op.graph, 'one_row_per_image');
  if (parent.form === 'lean') return orderedRows(parent, rowCount, width);
  const rows = op.countTo(rowCount);
  const shape = op.shape([rowCount, -1, width]);
  return { slotRows: op.unsqueeze(rows, [1]), rowSlots: rows, rowShape: shape, slotShape: shape, width };
}

/** @param imageCount 1-D of one element. */
export function orderedRows(parent: Scope, imageCount: Value<'int64'>, width: number): OrderedRows {
  const { op } = createScope(parent.op.graph, 'ordered_rows');
  return { imageShape: op.shape([imageCount, -1, width]), width };
}

/** Whether row i is in slot i, for every i; a scalar. */
export function areOrdered(parent: Scope, { slotRows, rowSlots }: MovedRows): Value<'bool'> {
  const { op } = createScope(parent.op.graph, 'ordered_rows');
  const moved = op.not(op.equal(rowSlots, op.indices(rowSlots, 0)));
  const slotCount = op.mul(op.dimension(slotRows, 0), op.dimension(slotRows, 1)); // [1]
  const emptyCount = op.sub(slotCount, op.dimension(rowSlots, 0));
  const movedCount = op.reduceSum(op.cast(moved, 'int64'), 0, true);
  return op.squeeze(op.equal(op.add(movedCount, emptyCount), 0), [0]);
}

/** [rows * n, width] → [images, slots * n, width]. */
export function toImages({ op }: Scope, rows: RowsByImage, x: Value<Real>): Value<Real> {
  if ('imageShape' in rows) return op.reshape(x, rows.imageShape);
  const bySlot = op.gather(op.reshape(x, rows.rowShape), rows.slotRows, 0); // [images, slots, n, width]
  return op.reshape(bySlot, [0, -1, rows.width]);
}

/** [images, slots * n, width] → [rows * n, width]. */
export function toRows(module: Module, rows: RowsByImage, x: Value<Real>): Value<Real> {
  return asRows(module, byRow(module, rows, x), rows.width);
}

/** [images, slots * n, width] → any shape whose elements lie as those of [rows, n, width]. */
export function byRow({ op }: Scope, rows: RowsByImage, x: Value<Real>): Value<Real> {
  if ('imageShape' in rows) return x;
  return op.gather(op.reshape(x, rows.slotShape), rows.rowSlots, 0);
}
