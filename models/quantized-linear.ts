import { float32, uint8 } from '../onnx/constants.ts';
import type { Graph, Scope, Value } from '../onnx/graph.ts';
import { matMulIntegerToFloat } from '../onnx/microsoft-operators.ts';
import * as op from '../onnx/operators.ts';
import type { QuantizedWeight } from './module.ts';

/** Unsigned, as the processor's products want it: this stands for zero. */
const ZERO_POINT = 128;
/** One step, of a row whose largest value is 1. */
const STEP = 1 / 127;
/** What a row of zeros is divided by. */
const SMALLEST_MAGNITUDE = 1e-30;

/** Rows in 8 bits: (values - ZERO_POINT) * STEP * magnitude. */
interface QuantizedRows {
  /** [rows, in] */
  readonly values: Value<'uint8'>;
  /** [rows, 1] */
  readonly magnitude: Value<'float32'>;
}

/**
 * A Linear whose weight is int8: each row of `x` is rounded to 8 bits in steps of its own, the product is one of
 * integers, and exact. So a row's result does not depend on what else is in its batch, which one scale for the whole
 * tensor (DynamicQuantizeLinear) would make it do.
 * What is not a number, or infinite, is lost in the rounding: only broken weights lead there.
 * Source: "vector-wise quantization" of LLM.int8() (arXiv 2208.07339, section 3.1).
 */
export function quantizedLinear(
  scope: Scope,
  x: Value<'float32'>,
  weight: QuantizedWeight,
  bias: Value<'float32'>,
): Value<'float32'> {
  const rows = quantizeRows(scope, x);
  const product = matMulIntegerToFloat(scope, {
    a: rows.values,
    aScale: float32(scope, STEP),
    aZeroPoint: uint8(scope, ZERO_POINT),
    b: weight.values,
    bScale: weight.scale,
  });
  return op.add(scope, op.mul(scope, product, rows.magnitude), bias);
}

/** What has been quantized in each graph: query, key and value are made of the same rows. */
const written = new WeakMap<Graph, Map<string, QuantizedRows>>();

function quantizeRows(scope: Scope, x: Value<'float32'>): QuantizedRows {
  const inGraph = written.get(scope.graph) ?? new Map<string, QuantizedRows>();
  written.set(scope.graph, inGraph);
  const rows = inGraph.get(x.name) ?? writeQuantizedRows(scope, x);
  inGraph.set(x.name, rows);
  return rows;
}

function writeQuantizedRows(scope: Scope, x: Value<'float32'>): QuantizedRows {
  const largest = op.reduceMax(scope, x, 1, true);
  const smallest = op.reduceMin(scope, x, 1, true);
  const magnitude = op.max(scope, largest, op.neg(scope, smallest), float32(scope, SMALLEST_MAGNITUDE));
  const within = op.div(scope, x, magnitude); // -1 to 1
  return { values: op.quantizeLinear(scope, within, float32(scope, STEP), uint8(scope, ZERO_POINT)), magnitude };
}
