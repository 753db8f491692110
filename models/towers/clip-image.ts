import type { VisionConfig } from '../../checkpoint/config/vision-config.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { layerNorm, preNormLayers } from '../layers.ts';
import { child, type Module, weight } from '../module.ts';
import { clipAttention } from './clip-attention.ts';
import { embedPatches, positionsOf, storedTokenCount, withClassAndPositions } from './vision-transformer.ts';

/**
 * transformers' `CLIPVisionTransformer` (models/clip/modeling_clip.py).
 * @param pixels `pixel_values` float32 [images, 3, size, size].
 * @returns `pooler_output` [images, hidden]: the class embedding of each image.
 */
export function clipImageTower(module: Module, config: VisionConfig, pixels: Value<'float32'>): Value<Real> {
  const { op } = module;
  const { hiddenSize, layerNormEpsilon } = config;
  const tokenCount = imageTokenCount(config);
  const embedded = embed(child(module, 'embeddings'), config, pixels);
  const norm = child(module, 'pre_layrnorm'); // The checkpoint's spelling.
  const normalized = layerNorm(norm, embedded, hiddenSize, layerNormEpsilon);
  const hidden = preNormLayers(module, config, normalized, (attention, x) =>
    clipAttention(attention, { ...config, tokenCount }, x),
  );
  const classes = op.gather(op.reshape(hidden, [-1, tokenCount, hiddenSize]), 0, 1);
  return layerNorm(child(module, 'post_layernorm'), classes, hiddenSize, layerNormEpsilon);
}

function embed(module: Module, config: VisionConfig, pixels: Value<'float32'>): Value<Real> {
  const { hiddenSize } = config;
  const tokens = storedTokenCount(config);
  const patches = embedPatches(child(module, 'patch_embedding'), config, pixels, { bias: false });
  const classEmbedding = weight(module, 'class_embedding', [1, 1, hiddenSize], { storedShape: [hiddenSize] });
  const stored = weight(child(module, 'position_embedding'), 'weight', [1, tokens, hiddenSize], {
    storedShape: [tokens, hiddenSize],
  });
  return withClassAndPositions(module, config, patches, classEmbedding, positionsOf(module, config, stored));
}
