import type { T5Config } from '../../checkpoint/config/t5-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { activate, linearWithoutBias } from '../layers.ts';
import { child, type Module, weight } from '../module.ts';

/**
 * The layers of T5's two stacks (transformers' models/t5/modeling_t5.py). Hidden states are in float32 whatever the model's
 * precision, and so are norms and the last Linear of a feed-forward block: in float16 they overflow.
 */

/** Hidden states [rows * tokens, width], to which the output of a block is still to be added. */
export interface Stream {
  readonly residual: Value<'float32'>;
  readonly added?: Value<'float32'>;
}

/** `T5LayerNorm` of a stream's sum: the root mean square over the last axis, without a mean and without a shift. */
export function addAndNormalize(
  norm: Module,
  { hiddenSize, layerNormEpsilon: epsilon }: T5Config,
  { residual, added }: Stream,
): { readonly sum: Value<'float32'>; readonly normalized: Value<Real> } {
  const { op, precision } = norm;
  const scale = op.cast(weight(norm, 'weight', [hiddenSize]), 'float32');
  if (added !== undefined) {
    const inputs = { x: added, skip: residual, weight: scale, epsilon };
    const { sum, normalized } = op.microsoft.sumAndRootMeanSquareNormalization(inputs);
    return { sum, normalized: op.cast(normalized, precision) };
  }
  const meanSquare = op.div(op.reduceSum(op.mul(residual, residual), -1, true), hiddenSize);
  const unit = op.mul(residual, op.pow(op.add(meanSquare, epsilon), -0.5));
  return { sum: residual, normalized: op.cast(op.mul(unit, scale), precision) };
}

/** Width of queries, keys and values: heads times their size, which need not be the width of hidden states. */
export function innerWidth({ headCount, headSize }: T5Config): number {
  return headCount * headSize;
}

/** [rows * tokens, width] → [rows, tokens, inner width]: one of the Linears `q`, `k` and `v`. */
export function project(
  attention: Module,
  name: 'q' | 'k' | 'v',
  config: T5Config,
  x: Value<Real>,
  rowCount: Value<'int64'>,
): Value<Real> {
  const width = innerWidth(config);
  const { op } = attention;
  return op.reshape(linearWithoutBias(child(attention, name), x, config.hiddenSize, width), [rowCount, -1, width]);
}

/** The Linear `o` of an attention: any shape of [rows, tokens, inner width] → [rows * tokens, width]. */
export function attentionOutput(attention: Module, config: T5Config, attended: Value<Real>): Value<'float32'> {
  const { op } = attention;
  const width = innerWidth(config);
  const rows = op.reshape(attended, [-1, width]);
  return op.cast(linearWithoutBias(child(attention, 'o'), rows, width, config.hiddenSize), 'float32');
}

/** `T5DenseActDense`, or `T5DenseGatedActDense` where a second Linear is multiplied with the activation of the first. */
export function feedForward(dense: Module, config: T5Config, x: Value<Real>): Value<'float32'> {
  const { hiddenSize, intermediateSize, activation, isGated } = config;
  const { op } = dense;
  const widen = (name: string) => linearWithoutBias(child(dense, name), x, hiddenSize, intermediateSize);
  const activated = activate(dense, { value: widen(isGated ? 'wi_0' : 'wi') }, activation);
  const widened = isGated ? op.mul(activated, widen('wi_1')) : activated;
  const output: Module = { ...child(dense, 'wo'), precision: 'float32' };
  return op.cast(linearWithoutBias(output, op.cast(widened, 'float32'), intermediateSize, hiddenSize), 'float32');
}
