import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { TargetShape } from '../../onnx/operators.ts';
import { paddingBias } from '../attention-bias.ts';
import { joinProjections } from '../joined-projections.ts';
import { queryKeyValue } from '../layers.ts';
import type { Module } from '../module.ts';

/** Self-attention of BERT as an encoder: every token sees every other, but for padding. */

const projections = ['query', 'key', 'value'] as const;

/** Hides padding on the right from attention: lengths where the operator takes them, else a bias. */
export type HiddenPadding = { readonly bias: Value<Real> } | { readonly lengths: Value<'int32'> };

/**
 * @param keys any value whose axis 1 has the keys.
 * @param length [rows]: how many of them are not padding.
 * @param keyCount how many there are: [1].
 */
export function hidePadding(
  module: Module,
  keys: Value,
  length: Value<'int64'>,
  keyCount: Value<'int64'>,
): HiddenPadding {
  const { op } = module;
  if (module.form === 'lean') return { lengths: op.cast(length, 'int32') };
  return { bias: op.expand(paddingBias(module, keys, length), [1, 1, keyCount, 1]) };
}

/** Says which rows are one text, and where their padding is. */
export interface BidirectionalContext {
  /** The shape [rows, -1, hidden]. */
  readonly rowShape: TargetShape;
  /** Absent where there is none. */
  readonly padding?: HiddenPadding;
}

/**
 * @param attention holds the Linears `query`, `key` and `value`.
 * @param x [rows * tokens, hidden].
 * @returns [rows, tokens, hidden], before the output's Linear.
 */
export function bidirectionalAttention(
  attention: Module,
  { hiddenSize, headCount }: { readonly hiddenSize: number; readonly headCount: number },
  x: Value<Real>,
  { rowShape, padding }: BidirectionalContext,
): Value<Real> {
  const { op } = attention;
  if (attention.form === 'lean') {
    const { weight, bias } = joinProjections(attention, projections, hiddenSize);
    const mask = padding !== undefined && 'lengths' in padding ? { mask: padding.lengths } : {};
    const inputs = { x: op.reshape(x, rowShape), weight, projectionBias: bias, ...mask };
    return op.microsoft.selfAttention(inputs, { headCount, isCausal: false });
  }
  const projected = queryKeyValue(attention, projections, x, hiddenSize, rowShape);
  const bias = padding !== undefined && 'bias' in padding ? { bias: padding.bias } : {};
  return op.microsoft.multiHeadAttention({ ...projected, ...bias }, headCount);
}
