import type { T5Config } from '../../checkpoint/config/t5-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { activate, linearWithoutBias } from '../layers.ts';
import { child, type Module } from '../module.ts';
import type { NormSizes } from './rms-norm.ts';

/**
 * The layers of T5's two stacks (transformers' models/t5/modeling_t5.py). The last Linear of a feed-forward block computes
 * in float32 whatever the model's precision: in float16 it overflows.
 */

/** The norms of both stacks. */
export function normSizes({ hiddenSize, layerNormEpsilon: epsilon }: T5Config): NormSizes {
  return { hiddenSize, epsilon };
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
