import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { type Module, weight } from '../module.ts';

/**
 * Norms by the root mean square, as T5 and LLaMA have them (`T5LayerNorm`, `LlamaRMSNorm`). They compute in float32. Hidden
 * states between blocks may have another type than the model: in float16 those of T5 overflow.
 */

/** Hidden states [rows * tokens, width], to which the output of a block is still to be added. */
export interface HiddenStream<T extends Real> {
  readonly residual: Value<T>;
  readonly added?: Value<T>;
}

export type FloatStream = HiddenStream<'float32'>;

export interface NormSizes {
  readonly hiddenSize: number;
  readonly epsilon: number;
}

/**
 * The stream's sum, in the stream's type; and that divided by its root mean square over the last axis, times the weights of
 * `norm`, in the model's type.
 */
export function addAndNormalize<T extends Real>(
  norm: Module,
  { hiddenSize, epsilon }: NormSizes,
  { residual, added }: HiddenStream<T>,
): { readonly sum: Value<T>; readonly normalized: Value<Real> } {
  const { op, precision } = norm;
  if (added === undefined)
    return { sum: residual, normalized: normalizeAlone(norm, { hiddenSize, epsilon }, residual) };
  const { elementType } = residual;
  const scale = op.cast(weight({ ...norm, precision: elementType }, 'weight', [hiddenSize]), elementType);
  const inputs = { x: added, skip: residual, weight: scale, epsilon };
  const { sum, normalized } = op.microsoft.sumAndRootMeanSquareNormalization(inputs);
  return { sum, normalized: op.cast(normalized, precision) };
}

/** The first norm, to whose rows nothing is added. */
function normalizeAlone(norm: Module, { hiddenSize, epsilon }: NormSizes, rows: Value<Real>): Value<Real> {
  const { op, precision } = norm;
  const x = op.cast(rows, 'float32');
  const scale = op.cast(weight({ ...norm, precision: 'float32' }, 'weight', [hiddenSize]), 'float32');
  const meanSquare = op.div(op.reduceSum(op.mul(x, x), -1, true), hiddenSize);
  const unit = op.mul(x, op.pow(op.add(meanSquare, epsilon), -0.5));
  return op.cast(op.mul(unit, scale), precision);
}
