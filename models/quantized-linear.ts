import type { Real } from '../onnx/element-type.ts';
import { requireType } from '../onnx/fit.ts';
import { once, type Value } from '../onnx/graph.ts';
import type { Scope } from '../onnx/scope.ts';
import {
  type BlockWeight,
  blockWeight,
  type InputSteps,
  type Part,
  type ProductWeight,
  productWeight,
} from './int8-weights.ts';
import type { Module } from './module.ts';

/** Linears whose weights are int8. Such a model computes with float32: `rootModule` refuses another precision. */

interface Sizes {
  readonly inputSize: number;
  readonly outputSize: number;
  /** Where a checkpoint stores several Linears as one matrix: the one that is meant. */
  readonly part?: Part;
  /** A number that no value of the rows is below, such as the least one of an activation. */
  readonly lowest?: number | undefined;
}

/**
 * A Linear whose weight is int8, as the checkpoint stores it: [rows, in] → [rows, out].
 * @returns `undefined` where the checkpoint has the weight as floats.
 * @throws CheckpointError when the weight has another shape or dtype.
 */
export function quantizedLinear(
  module: Module,
  x: Value<Real>,
  { inputSize, outputSize, part = { index: 0, count: 1 }, lowest }: Sizes,
  bias?: () => Value<Real>,
): Value<'float32'> | undefined {
  const blocks = part.count === 1 ? blockWeight(module, inputSize, outputSize) : undefined;
  if (blocks !== undefined) {
    const float32 = (value: Value) => requireType(module.op, 'MatMulNBits', value, 'float32');
    return blockLinear(module, float32(x), blocks, inputSize, bias && float32(bias()));
  }
  const product = productWeight(module, inputSize, outputSize, part);
  if (product === undefined) return undefined;
  const float32 = (value: Value) => requireType(module.op, 'MatMulIntegerToFloat', value, 'float32');
  const { input } = product;
  const added = bias && float32(bias());
  if (input === undefined) return linearWithStepsByRow(module, { x: float32(x), lowest }, product, added);
  return linearWithFixedSteps(module, float32(x), product, input, added);
}

/** The operator rounds each row, in steps of its own for each block. It is the fastest form for up to ten rows. */
function blockLinear(
  { op }: Scope,
  x: Value<'float32'>,
  weight: BlockWeight,
  inputSize: number,
  bias: Value<'float32'> | undefined,
): Value<'float32'> {
  const { values: b, scale: bScale, zeroPoint: bZeroPoint, bits } = weight;
  return op.microsoft.matMulBlocks({ x, b, bScale, bZeroPoint, bits, inputSize, bias });
}

/**
 * Rows are rounded in the steps that were found when the checkpoint was calibrated. Values beyond them go to the nearest
 * end of the range.
 */
function linearWithFixedSteps(
  { op }: Scope,
  x: Value<'float32'>,
  { values, scale }: ProductWeight,
  { scale: aScale, zeroPoint: aZeroPoint }: InputSteps,
  bias: Value<'float32'> | undefined,
): Value<'float32'> {
  // Query, key and value read the same rows, and have the same steps.
  const a = once(op.graph, `${x.name} in fixed steps`, 'uint8', () => op.quantizeLinear(x, aScale, aZeroPoint));
  return op.microsoft.matMulIntegerToFloat({ a, aScale, aZeroPoint, b: values, bScale: scale, ...(bias && { bias }) });
}

/** Rows, and a number that none of their values is below, where one is known. */
interface Rows {
  readonly x: Value<'float32'>;
  readonly lowest: number | undefined;
}

/** Rows in 8 bits: (values - zeroPoint) * step * magnitude. */
interface QuantizedRows {
  /** [rows, in] */
  readonly values: Value<'uint8'>;
  /** [rows, 1] */
  readonly magnitude: Value<'float32'>;
  readonly step: Value<'float32'>;
  readonly zeroPoint: Value<'uint8'>;
}

/**
 * Each row of `x` is rounded to 8 bits in steps of its own; the product of integers is exact. So a row's result does not
 * depend on the other rows of its batch, as it would with one scale for the whole tensor (DynamicQuantizeLinear).
 * Rounding loses infinities and NaN, which come of broken weights alone.
 * Source: "vector-wise quantization" of LLM.int8() (arXiv 2208.07339, section 3.1).
 */
function linearWithStepsByRow(
  scope: Scope,
  x: Rows,
  weight: ProductWeight,
  bias: Value<'float32'> | undefined,
): Value<'float32'> {
  const { op } = scope;
  const rows = quantizeRows(scope, x);
  const product = op.microsoft.matMulIntegerToFloat({
    a: rows.values,
    aScale: rows.step,
    aZeroPoint: rows.zeroPoint,
    b: weight.values,
    bScale: weight.scale,
  });
  const scaled = op.mul(product, rows.magnitude);
  return bias === undefined ? scaled : op.add(scaled, bias);
}

/** Rows are quantized once in each graph: query, key and value are made of the same ones. */
function quantizeRows({ op }: Scope, { x, lowest }: Rows): QuantizedRows {
  const { graph } = op;
  const { below, above, smallestMagnitude } = rangeOf(lowest);
  const magnitude = once(graph, `${x.name} magnitude`, 'float32', () => {
    const largest = op.reduceMax(x, 1, true);
    if (lowest !== undefined) return op.max(largest, smallestMagnitude);
    return op.max(largest, op.neg(op.reduceMin(x, 1, true)), smallestMagnitude);
  });
  const [step, zeroPoint] = [op.constant('float32', 1 / above), op.constant('uint8', below)];
  const values = once(graph, `${x.name} in 8 bits`, 'uint8', () =>
    op.quantizeLinear(op.div(x, magnitude), step, zeroPoint),
  );
  return { values, magnitude, step, zeroPoint };
}

/** How the 256 values of a byte are shared out, for rows whose largest magnitude is 1. */
interface ByteRange {
  /** Steps below zero: the zero point. The processor's products want one factor unsigned. */
  readonly below: number;
  readonly above: number;
  /** The magnitude of rows that are smaller, and of rows of zeros. */
  readonly smallestMagnitude: number;
}

const symmetric: ByteRange = { below: 128, above: 127, smallestMagnitude: 1e-30 };

/**
 * Rows that have a lowest value, such as those behind GELU, need few steps below zero. They have finer ones above it: 223
 * in place of 127. In these the lowest value fits, because no row has finer ones than those in which it just does.
 */
function rangeOf(lowest: number | undefined): ByteRange {
  if (lowest === undefined) return symmetric;
  const [below, above] = [32, 223];
  return { below, above, smallestMagnitude: Math.max((-lowest * above) / below, symmetric.smallestMagnitude) };
}
