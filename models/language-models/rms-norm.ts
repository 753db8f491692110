import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { type Module, weight } from '../module.ts';

/**
 * Norms by the root mean square, as T5 and LLaMA have them (`T5LayerNorm`, `LlamaRMSNorm`). They are computed in float32,
 * and so are the hidden states between blocks: in float16 those of T5 overflow.
 */

/** Hidden states [rows * tokens, width], to which the output of a block is still to be added. */
export interface FloatStream {
  readonly residual: Value<'float32'>;
  readonly added?: Value<'float32'>;
}

export interface NormSizes {
  readonly hiddenSize: number;
  readonly epsilon: number;
}

/** The stream's sum, and that divided by its root mean square over the last axis, times the weights of `norm`. */
export function addAndNormalize(
  norm: Module,
  { hiddenSize, epsilon }: NormSizes,
  { residual, added }: FloatStream,
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
