import { imageTokenCount, type VisionConfig } from '../../checkpoint/config/vision-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import { outermost, type Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { asBatch, asRows, layerNorm, linear, linearPart, preNormLayers } from '../layers.ts';
import { child, type Module, weight } from '../module.ts';

const CHANNELS = 3;

/**
 * transformers' `BlipVisionModel.last_hidden_state` (models/blip/modeling_blip.py).
 * @param pixels `pixel_values` float32 [images, 3, size, size].
 * @returns `image_embeds` as 2-D rows: [images * tokens, hidden].
 */
export function visionTransformer(module: Module, config: VisionConfig, pixels: Value<Real>): Value<Real> {
  const embedded = embed(child(module, 'embeddings'), config, pixels);
  const hidden = preNormLayers(module, config, embedded, (attention, x) => selfAttention(attention, config, x));
  return layerNorm(child(module, 'post_layernorm'), hidden, config.hiddenSize, config.layerNormEpsilon);
}

/** The convolution over patches has stride = kernel, so it is a reshape and a Gemm over the same weights. */
export function embedPatches(
  convolution: Module,
  config: VisionConfig,
  pixels: Value<Real>,
  options: { readonly bias: boolean },
): Value<Real> {
  const { op } = convolution;
  const { hiddenSize, imageSize, patchSize } = config;
  const side = imageSize / patchSize;
  const patchLength = CHANNELS * patchSize * patchSize;
  const cells = op.reshape(op.cast(pixels, convolution.precision), [-1, CHANNELS, side, patchSize, side, patchSize]);
  const patches = op.reshape(op.transpose(cells, [0, 2, 4, 1, 3, 5]), [-1, patchLength]); // [images * side², patchLength]
  const kernel = weight(convolution, 'weight', [hiddenSize, patchLength], {
    storedShape: [hiddenSize, CHANNELS, patchSize, patchSize],
  });
  return op.gemm(patches, kernel, options.bias ? weight(convolution, 'bias', [hiddenSize]) : undefined);
}

/**
 * Puts the class embedding before the patches of each image, and adds the positions.
 * @param classEmbedding [1, 1, hidden].
 * @param positions [1, tokens, hidden].
 * @returns [images * tokens, hidden].
 */
export function withClassAndPositions(
  module: Module,
  config: VisionConfig,
  patches: Value<Real>,
  classEmbedding: Value<Real>,
  positions: Value<Real>,
): Value<Real> {
  const { op } = module;
  const { hiddenSize } = config;
  const byImage = asBatch(module, patches, imageTokenCount(config) - 1, hiddenSize);
  const classes = op.expand(classEmbedding, [op.dimension(byImage, 0), 1, hiddenSize]);
  return asRows(module, op.add(op.concat([classes, byImage], 1), positions), hiddenSize);
}

/** Positions that the checkpoint has, and that of the class embedding. */
export function storedTokenCount(config: VisionConfig): number {
  return imageTokenCount({ ...config, imageSize: config.positionsImageSize });
}

/**
 * transformers' `interpolate_pos_encoding`, where images have another size than the positions were learned for. It is
 * written outside any loop, because it is the same for all images.
 * @param stored [1, stored tokens, hidden].
 * @returns [1, tokens, hidden].
 */
export function positionsOf(scope: Scope, config: VisionConfig, stored: Value<Real>): Value<Real> {
  const { op } = createScope(outermost(scope.op.graph), scope.op.path);
  const { hiddenSize, imageSize, patchSize, positionsImageSize } = config;
  if (imageSize === positionsImageSize) return stored;
  const [storedSide, side] = [positionsImageSize / patchSize, imageSize / patchSize];
  const part = (from: number, to: number) => op.slice(stored, [from], [to], [1]);
  const grid = op.reshape(part(1, storedTokenCount(config)), [1, storedSide, storedSide, hiddenSize]);
  const channelsFirst = op.cast(op.transpose(grid, [0, 3, 1, 2]), 'float32'); // Resize has no kernel for float16 on CPUs.
  const resized = op.interpolateBicubic(channelsFirst, [1, hiddenSize, side, side]);
  const patches = op.reshape(op.transpose(resized, [0, 2, 3, 1]), [1, side * side, hiddenSize]);
  return op.concat([part(0, 1), op.cast(patches, stored.elementType)], 1);
}

function embed(module: Module, config: VisionConfig, pixels: Value<Real>): Value<Real> {
  const patches = embedPatches(child(module, 'patch_embedding'), config, pixels, { bias: true });
  const classEmbedding = weight(module, 'class_embedding', [1, 1, config.hiddenSize]);
  const stored = weight(module, 'position_embedding', [1, storedTokenCount(config), config.hiddenSize]);
  return withClassAndPositions(module, config, patches, classEmbedding, positionsOf(module, config, stored));
}

function selfAttention(module: Module, config: VisionConfig, x: Value<Real>): Value<Real> {
  const { hiddenSize } = config;
  const project = (index: number) => {
    const projected = linearPart(child(module, 'qkv'), x, hiddenSize, hiddenSize, { index, count: 3 });
    return asBatch(module, projected, imageTokenCount(config), hiddenSize);
  };
  const inputs = { query: project(0), key: project(1), value: project(2) };
  const attended = module.op.microsoft.multiHeadAttention(inputs, config.headCount);
  return linear(child(module, 'projection'), asRows(module, attended, hiddenSize), hiddenSize, hiddenSize);
}
