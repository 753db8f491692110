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

/** Stands for zero in rows that have steps of their own: the processor's products want one factor unsigned. */
const ZERO_POINT = 128;
/** One step, of a row whose largest value is 1. */
const STEP = 1 / 127;
/** The divisor of a row of zeros. */
const SMALLEST_MAGNITUDE = 1e-30;

interface Sizes {
  readonly inputSize: number;
  readonly outputSize: number;
  /** Where a checkpoint stores several Linears as one matrix: the one that is meant. */
  readonly part?: Part;
}

/**
 * A Linear whose weight is int8, as the checkpoint stores it: [rows, in] → [rows, out].
 * @returns `undefined` where the checkpoint has the weight as floats.
 * @throws CheckpointError when the weight has another shape or dtype.
 */
export function quantizedLinear(
  module: Module,
  x: Value<Real>,
  { inputSize, outputSize, part = { index: 0, count: 1 } }: Sizes,
  bias: () => Value<Real>,
): Value<'float32'> | undefined {
  const blocks = part.count === 1 ? blockWeight(module, inputSize, outputSize) : undefined;
  if (blocks !== undefined) {
    const float32 = (value: Value) => requireType(module.op, 'MatMulNBits', value, 'float32');
    return blockLinear(module, float32(x), blocks, inputSize, float32(bias()));
  }
  const product = productWeight(module, inputSize, outputSize, part);
  if (product === undefined) return undefined;
  const float32 = (value: Value) => requireType(module.op, 'MatMulIntegerToFloat', value, 'float32');
  const { input } = product;
  if (input === undefined) return linearWithStepsByRow(module, float32(x), product, float32(bias()));
  return linearWithFixedSteps(module, float32(x), product, input, float32(bias()));
}

/** The operator rounds each row, in steps of its own for each block. It is the fastest form for up to ten rows. */
function blockLinear(
  { op }: Scope,
  x: Value<'float32'>,
  weight: BlockWeight,
  inputSize: number,
  bias: Value<'float32'>,
): Value<'float32'> {
  return op.microsoft.matMulBlocks({ x, b: weight.values, bScale: weight.scale, inputSize, bias });
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
  bias: Value<'float32'>,
): Value<'float32'> {
  // Query, key and value read the same rows, and have the same steps.
  const a = once(op.graph, `${x.name} in fixed steps`, 'uint8', () => op.quantizeLinear(x, aScale, aZeroPoint));
  return op.microsoft.matMulIntegerToFloat({ a, aScale, aZeroPoint, b: values, bScale: scale, bias });
}

/** Rows in 8 bits: (values - ZERO_POINT) * STEP * magnitude. */
interface QuantizedRows {
  /** [rows, in] */
  readonly values: Value<'uint8'>;
  /** [rows, 1] */
  readonly magnitude: Value<'float32'>;
}

/**
 * Each row of `x` is rounded to 8 bits in steps of its own; the product of integers is exact. So a row's result does not
 * depend on the other rows of its batch, as it would with one scale for the whole tensor (DynamicQuantizeLinear).
 * Rounding loses infinities and NaN, which come of broken weights alone.
 * Source: "vector-wise quantization" of LLM.int8() (arXiv 2208.07339, section 3.1).
 */
function linearWithStepsByRow(
  scope: Scope,
  x: Value<'float32'>,
  weight: ProductWeight,
  bias: Value<'float32'>,
): Value<'float32'> {
  const { op } = scope;
  const rows = quantizeRows(scope, x);
  const product = op.microsoft.matMulIntegerToFloat({
    a: rows.values,
    aScale: op.constant('float32', STEP),
    aZeroPoint: op.constant('uint8', ZERO_POINT),
    b: weight.values,
    bScale: weight.scale,
  });
  return op.add(op.mul(product, rows.magnitude), bias);
}

/** Rows are quantized once in each graph: query, key and value are made of the same ones. */
function quantizeRows({ op }: Scope, x: Value<'float32'>): QuantizedRows {
  const { graph } = op;
  const magnitude = once(graph, `${x.name} magnitude`, 'float32', () => {
    const largest = op.reduceMax(x, 1, true);
    const smallest = op.reduceMin(x, 1, true);
    return op.max(largest, op.neg(smallest), SMALLEST_MAGNITUDE);
  });
  const values = once(graph, `${x.name} in 8 bits`, 'uint8', () => {
    const scaled = op.div(x, magnitude); // -1 to 1
    return op.quantizeLinear(scaled, op.constant('float32', STEP), op.constant('uint8', ZERO_POINT));
  });
  return { values, magnitude };
}
