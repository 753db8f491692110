import type { VisionConfig } from '../checkpoint/blip-config.ts';
import type { Value } from '../onnx/graph.ts';
import { multiHeadAttention } from '../onnx/microsoft-operators.ts';
import * as op from '../onnx/operators.ts';
import { feedForward, layerNorm, linear, linearPart } from './layers.ts';
import { child, type Module, weight } from './module.ts';

const CHANNELS = 3;

/** Number of vectors that one image becomes: its patches and the class embedding. */
export function imageTokenCount(config: VisionConfig): number {
  return (config.imageSize / config.patchSize) ** 2 + 1;
}

/**
 * transformers' `BlipVisionModel.last_hidden_state` (models/blip/modeling_blip.py).
 * @param pixels `pixel_values` float32 [images, 3, size, size].
 * @returns `image_embeds` as 2-D rows: [images * tokens, hidden].
 */
export function visionTransformer(module: Module, config: VisionConfig, pixels: Value<'float32'>): Value<'float32'> {
  let hidden = embedPatches(child(module, 'embeddings'), config, pixels);
  for (let index = 0; index < config.layerCount; index += 1) {
    hidden = encoderLayer(child(module, `encoder.layers.${index}`), config, hidden);
  }
  return layerNorm(child(module, 'post_layernorm'), hidden, config.hiddenSize, config.layerNormEpsilon);
}

/** The patch convolution has stride = kernel, so it is a reshape and a Gemm over the same weights. */
function embedPatches(module: Module, config: VisionConfig, pixels: Value<'float32'>): Value<'float32'> {
  const { hiddenSize, imageSize, patchSize } = config;
  const side = imageSize / patchSize;
  const patchLength = CHANNELS * patchSize * patchSize;
  const cells = op.reshape(module, pixels, [-1, CHANNELS, side, patchSize, side, patchSize]);
  const patches = op.reshape(module, op.transpose(module, cells, [0, 2, 4, 1, 3, 5]), [-1, patchLength]); // [images * side², patchLength]
  const convolution = child(module, 'patch_embedding');
  const embedded = op.gemm(
    convolution,
    patches,
    weight(convolution, 'weight', [hiddenSize, patchLength], {
      storedShape: [hiddenSize, CHANNELS, patchSize, patchSize],
    }),
    weight(convolution, 'bias', [hiddenSize]),
  );
  const imageCount = op.dimension(module, pixels, 0);
  const classEmbedding = op.expand(module, weight(module, 'class_embedding', [1, 1, hiddenSize]), [
    imageCount,
    1,
    hiddenSize,
  ]);
  const tokens = op.concat(module, [classEmbedding, op.reshape(module, embedded, [-1, side * side, hiddenSize])], 1);
  const positioned = op.add(
    module,
    tokens,
    weight(module, 'position_embedding', [1, imageTokenCount(config), hiddenSize]),
  );
  return op.reshape(module, positioned, [-1, hiddenSize]);
}

/** Pre-norm: `x += attention(norm1(x))`, `x += mlp(norm2(x))`. */
function encoderLayer(module: Module, config: VisionConfig, x: Value<'float32'>): Value<'float32'> {
  const { hiddenSize, layerNormEpsilon } = config;
  const attended = selfAttention(
    child(module, 'self_attn'),
    config,
    layerNorm(child(module, 'layer_norm1'), x, hiddenSize, layerNormEpsilon),
  );
  const afterAttention = op.add(module, x, attended);
  const normalized = layerNorm(child(module, 'layer_norm2'), afterAttention, hiddenSize, layerNormEpsilon);
  const mlp = child(module, 'mlp');
  return op.add(
    module,
    afterAttention,
    feedForward(child(mlp, 'fc1'), child(mlp, 'fc2'), normalized, config, config.activation),
  );
}

function selfAttention(module: Module, config: VisionConfig, x: Value<'float32'>): Value<'float32'> {
  const { hiddenSize } = config;
  const [query, key, value] = [0, 1, 2].map((index) => {
    const projected = linearPart(child(module, 'qkv'), x, hiddenSize, hiddenSize, { index, count: 3 });
    return op.reshape(module, projected, [-1, imageTokenCount(config), hiddenSize]); // [images, tokens, hidden]
  }) as [Value<'float32'>, Value<'float32'>, Value<'float32'>]; // Three in, three out.
  const attended = multiHeadAttention(module, { query, key, value }, config.headCount);
  return linear(child(module, 'projection'), op.reshape(module, attended, [-1, hiddenSize]), hiddenSize, hiddenSize);
}
