import type { T5Config } from '../../checkpoint/config/t5-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { TargetShape } from '../../onnx/operators.ts';
import { joinWeights } from '../joined-projections.ts';
import { activate, linearWithoutBias } from '../layers.ts';
import { child, type Module } from '../module.ts';
import type { HiddenStream, NormSizes } from './rms-norm.ts';

/**
 * The layers of T5's two stacks (transformers' models/t5/modeling_t5.py). In float16 the last Linear of a feed-forward block
 * and the hidden states between blocks overflow: a model in float16 has those in float32.
 */

export type T5Stream = HiddenStream<Real>;

/** The type of hidden states between blocks, and of what is added to them. */
export function streamPrecision({ precision }: Module): Real {
  return precision === 'float16' ? 'float32' : precision;
}

/** Rows [..., width] that a stack begins with: [any, width]. */
export function streamOf(module: Module, { hiddenSize }: T5Config, embeddings: Value<Real>): T5Stream {
  const { op } = module;
  return { residual: op.reshape(op.cast(embeddings, streamPrecision(module)), [-1, hiddenSize]) };
}

/** The norms of both stacks. */
export function normSizes({ hiddenSize, layerNormEpsilon: epsilon }: T5Config): NormSizes {
  return { hiddenSize, epsilon };
}

/** Width of queries, keys and values: heads times their size, which need not be the width of hidden states. */
export function innerWidth({ headCount, headSize }: T5Config): number {
  return headCount * headSize;
}

/** The shape [rows, tokens, inner width], from numbers of rows and of tokens of which one may be -1: the rest. */
export function projectedShape({ op }: Module, config: T5Config, rows: Rows, tokens: number): TargetShape {
  return op.shape([rows, tokens, innerWidth(config)]);
}

type Rows = number | Value<'int64'>;

/** [rows * tokens, width] → `shape`: one of the Linears `q`, `k` and `v`. */
export function project(
  attention: Module,
  name: 'q' | 'k' | 'v',
  config: T5Config,
  x: Value<Real>,
  shape: TargetShape,
): Value<Real> {
  const projected = linearWithoutBias(child(attention, name), x, config.hiddenSize, innerWidth(config));
  return attention.op.reshape(projected, shape);
}

/** Query, key and value of a self-attention, as `project` makes them. The lean form multiplies once for all three. */
export function projectAll(attention: Module, config: T5Config, x: Value<Real>, shape: TargetShape) {
  const part = (name: 'q' | 'k' | 'v') => project(attention, name, config, x, shape);
  if (attention.form === 'plain') return { query: part('q'), key: part('k'), value: part('v') };
  const { op } = attention;
  const joined = op.gemm(x, joinWeights(attention, ['q', 'k', 'v'], [innerWidth(config), config.hiddenSize]));
  const [query, key, value] = op.splitInThree(joined, 1);
  return { query: op.reshape(query, shape), key: op.reshape(key, shape), value: op.reshape(value, shape) };
}

/** The Linear `o` of an attention: any shape of [rows, tokens, inner width] → [rows * tokens, width]. */
export function attentionOutput(attention: Module, config: T5Config, attended: Value<Real>): Value<Real> {
  const { op } = attention;
  const width = innerWidth(config);
  const rows = op.reshape(attended, [-1, width]);
  return op.cast(linearWithoutBias(child(attention, 'o'), rows, width, config.hiddenSize), streamPrecision(attention));
}

/** `T5DenseActDense`, or `T5DenseGatedActDense` where a second Linear is multiplied with the activation of the first. */
export function feedForward(dense: Module, config: T5Config, x: Value<Real>): Value<Real> {
  const { hiddenSize, intermediateSize, activation, isGated } = config;
  const { op } = dense;
  const output: Module = { ...child(dense, 'wo'), precision: streamPrecision(dense) };
  const widen = (name: string) => linearWithoutBias(child(dense, name), x, hiddenSize, intermediateSize);
  const activated = op.cast(activate(dense, { value: widen(isGated ? 'wi_0' : 'wi') }, activation), output.precision);
  const widened = isGated ? op.mul(activated, op.cast(widen('wi_1'), output.precision)) : activated;
  return linearWithoutBias(output, widened, intermediateSize, hiddenSize);
}
