import { once, type Value } from '../onnx/graph.ts';
import type { Scope } from '../onnx/scope.ts';
import type { QuantizedWeight } from './module.ts';

/** Stands for zero: the processor's products want one factor unsigned. */
const ZERO_POINT = 128;
/** One step, of a row whose largest value is 1. */
const STEP = 1 / 127;
/** The divisor of a row of zeros. */
const SMALLEST_MAGNITUDE = 1e-30;

/** Rows in 8 bits: (values - ZERO_POINT) * STEP * magnitude. */
interface QuantizedRows {
  /** [rows, in] */
  readonly values: Value<'uint8'>;
  /** [rows, 1] */
  readonly magnitude: Value<'float32'>;
}

/**
 * A Linear whose weight is int8: [rows, in] → [rows, out]. Each row of `x` is rounded to 8 bits in steps of its own; the
 * product of integers is exact. So a row's result does not depend on the other rows of its batch, as it would with one
 * scale for the whole tensor (DynamicQuantizeLinear).
 * Rounding loses infinities and NaN, which come of broken weights alone.
 * Source: "vector-wise quantization" of LLM.int8() (arXiv 2208.07339, section 3.1).
 */
export function quantizedLinear(
  scope: Scope,
  x: Value<'float32'>,
  weight: QuantizedWeight,
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
