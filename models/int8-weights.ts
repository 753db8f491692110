import { blockSizeOf, isBlockSize, quantizedNames } from '../checkpoint/weights/int8-format.ts';
import { findTensor } from '../checkpoint/weights/weights.ts';
import type { ElementType } from '../onnx/element-type.ts';
import { requireType } from '../onnx/fit.ts';
import type { Value } from '../onnx/graph.ts';
import { addPiece, type Module, pathOf, rowsOf, weight, wrongDtype } from './module.ts';

/** Weights that a checkpoint has as int8: checkpoint/weights/int8-format.ts. */

/** Some of the outputs of a Linear that is a product of integers. */
export interface ProductWeight {
  /** [in, outputs] */
  readonly values: Value<'int8'>;
  /** [outputs]: the size of one step of int8 in each. */
  readonly scale: Value<'float32'>;
  /** How the rows are rounded that it reads; absent where each has steps of its own. */
  readonly input?: InputSteps;
}

/** Rows are rounded to (values - zeroPoint) * scale. Both are 0-D. */
export interface InputSteps {
  readonly scale: Value<'float32'>;
  readonly zeroPoint: Value<'uint8'>;
}

/** The weight of a Linear with a scale for each block of inputs. */
export interface BlockWeight {
  readonly bits: 4 | 8;
  /** [out, blocks, block], or of 4 bits [out, blocks, block / 2] */
  readonly values: Value<'uint8'>;
  /** [out * blocks] */
  readonly scale: Value<'float32'>;
  /** Of 4 bits: [out * ceil(blocks / 2)] */
  readonly zeroPoint?: Value<'uint8'>;
}

/** One of the equal parts that a matrix is made of, and their count. */
export interface Part {
  readonly index: number;
  readonly count: number;
}

/**
 * The weight of this part of the model, where the checkpoint stores it for products.
 * @throws CheckpointError when it has another shape or dtype.
 */
export function productWeight(
  module: Module,
  inputSize: number,
  outputSize: number,
  part: Part,
): ProductWeight | undefined {
  if (!has(module, quantizedNames.values)) return undefined;
  const shape = [part.count, inputSize, outputSize];
  const region = regionOf(module, quantizedNames.values, shape, 'I8');
  const piece = rowsOf(region, shape, [part.index, part.index + 1]);
  const rows = [part.index * outputSize, (part.index + 1) * outputSize] as const;
  const values = addPiece(module, region, 'int8', { ...piece, shape: [inputSize, outputSize] });
  const scale = float32(module, quantizedNames.scale, [part.count * outputSize], rows);
  const input = inputSteps(module);
  return { values, scale, ...(input === undefined ? {} : { input }) };
}

function inputSteps(module: Module): InputSteps | undefined {
  const { inputScale, inputZeroPoint } = quantizedNames;
  if (!has(module, inputScale)) return undefined;
  return {
    scale: float32(module, inputScale, []),
    zeroPoint: whole(module, inputZeroPoint, [], 'U8', 'uint8'),
  };
}

/**
 * The weight of this part of the model, where the checkpoint stores it in blocks.
 * @throws CheckpointError when it has another shape or dtype.
 */
export function blockWeight(module: Module, inputSize: number, outputSize: number): BlockWeight | undefined {
  const { blocks, blocks4Bits, blockZeroPoint } = quantizedNames;
  if (has(module, blocks)) return { bits: 8, ...inBlocks(module, blocks, inputSize, outputSize, 8) };
  if (!has(module, blocks4Bits)) return undefined;
  const weights = inBlocks(module, blocks4Bits, inputSize, outputSize, 4);
  const halves = Math.ceil(weights.blockCount / 2);
  const zeroPoint = whole(module, blockZeroPoint, [outputSize * halves], 'U8', 'uint8', [outputSize, halves]);
  return { bits: 4, ...weights, zeroPoint };
}

/** The values and scales of a matrix, whose blocks have the size that the checkpoint gave them. */
function inBlocks(module: Module, name: string, inputSize: number, outputSize: number, bits: 4 | 8) {
  const stored = module.weights.regions.get(pathOf(module, name))?.shape[2] ?? 0;
  const blockSize = isBlockSize((stored * 8) / bits) ? (stored * 8) / bits : blockSizeOf(inputSize);
  const blockCount = Math.ceil(inputSize / blockSize);
  const values = whole(module, name, [outputSize, blockCount, (blockSize * bits) / 8], 'U8', 'uint8');
  const { blockScale } = quantizedNames;
  const scale = weight(module, blockScale, [outputSize * blockCount], { storedShape: [outputSize, blockCount] });
  return { values, scale: requireType(module.op, blockScale, scale, 'float32'), blockCount };
}

function has(module: Module, name: string): boolean {
  return module.weights.regions.has(pathOf(module, name));
}

function regionOf(module: Module, name: string, shape: readonly number[], dtype: 'I8' | 'U8') {
  const region = findTensor(module.weights, [pathOf(module, name)], shape);
  if (region.dtype !== dtype) throw wrongDtype(region, dtype);
  return region;
}

function whole<T extends ElementType>(
  module: Module,
  name: string,
  shape: readonly number[],
  dtype: 'I8' | 'U8',
  elementType: T,
  storedShape: readonly number[] = shape,
): Value<T> {
  const region = regionOf(module, name, storedShape, dtype);
  return addPiece(module, region, elementType, { ...rowsOf(region, shape, undefined), shape });
}

function float32(
  module: Module,
  name: string,
  shape: readonly number[],
  rows?: readonly [from: number, to: number],
): Value<'float32'> {
  const value = weight(module, name, shape, rows === undefined ? {} : { rows });
  return requireType(module.op, name, value, 'float32');
}
