import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { joinProjections } from '../joined-projections.ts';
import { asRows, type Product, product, queryKeyValue } from '../layers.ts';
import { child, type Module } from '../module.ts';

const projections = ['q_proj', 'k_proj', 'v_proj'] as const;

interface ClipAttentionConfig {
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly tokenCount: number | Value<'int64'>;
}

/**
 * transformers' `CLIPAttention` (models/clip/modeling_clip.py), of images and texts alike.
 * @param x [batch * tokens, hidden].
 * @param causalBias writes [batch, 1, tokens, tokens], which hides later tokens; absent where every token sees every other.
 */
export function clipAttention(
  module: Module,
  config: ClipAttentionConfig,
  x: Value<Real>,
  causalBias?: () => Value<Real>,
): Product {
  const { hiddenSize } = config;
  const attended =
    module.form === 'lean'
      ? joinedAttention(module, config, x, causalBias !== undefined)
      : attention(module, config, x, causalBias?.());
  return product(child(module, 'out_proj'), asRows(module, attended, hiddenSize), hiddenSize, hiddenSize);
}

function attention(module: Module, config: ClipAttentionConfig, x: Value<Real>, bias?: Value<Real>): Value<Real> {
  const { op } = module;
  const { hiddenSize, headCount, tokenCount } = config;
  const projected = queryKeyValue(module, projections, x, hiddenSize, op.shape([-1, tokenCount, hiddenSize]));
  return op.microsoft.multiHeadAttention({ ...projected, ...(bias === undefined ? {} : { bias }) }, headCount);
}

function joinedAttention(module: Module, config: ClipAttentionConfig, x: Value<Real>, isCausal: boolean): Value<Real> {
  const { op } = module;
  const { hiddenSize, headCount, tokenCount } = config;
  const { weight, bias } = joinProjections(module, projections, hiddenSize);
  const inputs = { x: op.reshape(x, [-1, tokenCount, hiddenSize]), weight, projectionBias: bias };
  return op.microsoft.selfAttention(inputs, { headCount, isCausal });
}
