import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { asRows, linear, queryKeyValue } from '../layers.ts';
import { child, type Module } from '../module.ts';

/**
 * transformers' `CLIPAttention` (models/clip/modeling_clip.py), of images and texts alike.
 * @param x [batch * tokens, hidden].
 * @param bias [batch, 1, tokens, tokens]: added to the scores.
 */
export function clipAttention(
  module: Module,
  config: {
    readonly hiddenSize: number;
    readonly headCount: number;
    readonly tokenCount: number | Value<'int64'>;
  },
  x: Value<Real>,
  bias?: Value<Real>,
): Value<Real> {
  const { op } = module;
  const { hiddenSize, headCount, tokenCount } = config;
  const shape = op.shape([-1, tokenCount, hiddenSize]);
  const projected = queryKeyValue(module, ['q_proj', 'k_proj', 'v_proj'], x, hiddenSize, shape);
  const inputs = { ...projected, ...(bias === undefined ? {} : { bias }) };
  const attended = op.microsoft.multiHeadAttention(inputs, headCount);
  return linear(child(module, 'out_proj'), asRows(module, attended, hiddenSize), hiddenSize, hiddenSize);
}
