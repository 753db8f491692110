import type { Blip2Config } from '../../checkpoint/config/blip2-config.ts';
import type { OptConfig } from '../../checkpoint/config/opt-config.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import { optShapes } from './opt-by-hand.ts';
import type { Shapes } from './random-tensors.ts';

/** The tensors of a BLIP-2 whose language model is OPT with a head of its own. */

const linear = (name: string, inputSize: number, outputSize: number): Shapes => [
  [`${name}.weight`, [outputSize, inputSize]],
  [`${name}.bias`, [outputSize]],
];
const norm = (name: string, width: number): Shapes => [
  [`${name}.weight`, [width]],
  [`${name}.bias`, [width]],
];
const counted = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}.${index}`);

export function blip2Shapes({ vision, qFormer, queryCount, language }: Blip2Config & { language: OptConfig }): Shapes {
  return [
    ['query_tokens', [1, queryCount, qFormer.hiddenSize]],
    ...visionShapes(vision),
    ...norm('qformer.layernorm', qFormer.hiddenSize),
    ...counted('qformer.encoder.layer', qFormer.layerCount).flatMap((layer, index) =>
      qFormerLayer(layer, qFormer, index % qFormer.crossAttentionFrequency === 0),
    ),
    ...linear('language_projection', qFormer.hiddenSize, language.hiddenSize),
    ...optShapes(language, true),
  ];
}

function visionShapes(vision: Blip2Config['vision']): Shapes {
  const { hiddenSize: width, intermediateSize, patchSize } = vision;
  return [
    ['vision_model.embeddings.class_embedding', [1, 1, width]],
    ['vision_model.embeddings.position_embedding', [1, imageTokenCount(vision), width]],
    ['vision_model.embeddings.patch_embedding.weight', [width, 3, patchSize, patchSize]],
    ['vision_model.embeddings.patch_embedding.bias', [width]],
    ...counted('vision_model.encoder.layers', vision.layerCount).flatMap((layer) => [
      ...linear(`${layer}.self_attn.qkv`, width, 3 * width),
      ...linear(`${layer}.self_attn.projection`, width, width),
      ...linear(`${layer}.mlp.fc1`, width, intermediateSize),
      ...linear(`${layer}.mlp.fc2`, intermediateSize, width),
      ...norm(`${layer}.layer_norm1`, width),
      ...norm(`${layer}.layer_norm2`, width),
    ]),
    ...norm('vision_model.post_layernorm', width),
  ];
}

function qFormerLayer(layer: string, sizes: Blip2Config['qFormer'], looks: boolean): Shapes {
  const { hiddenSize: width, intermediateSize, encoderHiddenSize } = sizes;
  const attention = (name: string, keyWidth: number): Shapes => [
    ...linear(`${layer}.${name}.attention.query`, width, width),
    ...linear(`${layer}.${name}.attention.key`, keyWidth, width),
    ...linear(`${layer}.${name}.attention.value`, keyWidth, width),
    ...linear(`${layer}.${name}.output.dense`, width, width),
    ...norm(`${layer}.${name}.output.LayerNorm`, width),
  ];
  return [
    ...attention('attention', width),
    ...(looks ? attention('crossattention', encoderHiddenSize) : []),
    ...linear(`${layer}.intermediate_query.dense`, width, intermediateSize),
    ...linear(`${layer}.output_query.dense`, intermediateSize, width),
    ...norm(`${layer}.output_query.LayerNorm`, width),
  ];
}
