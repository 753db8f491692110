import { CheckpointError } from '../errors.ts';
import type { JsonSection } from '../files/json-file.ts';
import { readChoice, readInteger, readNumber, requireDivisible } from '../files/json-section.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';

/** Activation functions by their names in transformers' `ACT2FN`. */
export const activations = ['gelu', 'quick_gelu', 'relu', 'gelu_new', 'gelu_pytorch_tanh'] as const;
export type Activation = (typeof activations)[number];

/** `vision_config` of BLIP and of CLIP: a pre-norm vision transformer. */
export interface VisionConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly imageSize: number;
  /** The image size that the checkpoint has positions for. They are interpolated where `imageSize` is another. */
  readonly positionsImageSize: number;
  readonly patchSize: number;
  readonly layerNormEpsilon: number;
  readonly activation: Activation;
}

/** Number of vectors that one image becomes: its patches and the class embedding. */
export function imageTokenCount(config: Pick<VisionConfig, 'imageSize' | 'patchSize'>): number {
  return (config.imageSize / config.patchSize) ** 2 + 1;
}

const commonDefaults = {
  hiddenSize: 768,
  intermediateSize: 3072,
  layerCount: 12,
  headCount: 12,
  layerNormEpsilon: 1e-5,
} as const;

/** Defaults in which the families differ. The others are those of BLIP and CLIP. */
type VisionDefaults = Pick<VisionConfig, 'imageSize' | 'patchSize' | 'activation'> &
  Partial<Pick<VisionConfig, 'hiddenSize' | 'intermediateSize' | 'layerCount' | 'headCount' | 'layerNormEpsilon'>>;

/**
 * Reads a `vision_config`. Missing keys take the defaults of transformers' configuration classes.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readVisionConfig(section: JsonSection, familyDefaults: VisionDefaults): VisionConfig {
  const defaults = { ...commonDefaults, ...familyDefaults };
  const imageSize = readInteger(section, 'image_size', defaults.imageSize, 1, sizeLimits.imageSide);
  const vision = {
    hiddenSize: readInteger(section, 'hidden_size', defaults.hiddenSize, 1, sizeLimits.hiddenSize),
    intermediateSize: readInteger(
      section,
      'intermediate_size',
      defaults.intermediateSize,
      1,
      sizeLimits.intermediateSize,
    ),
    layerCount: readInteger(section, 'num_hidden_layers', defaults.layerCount, 1, sizeLimits.layers),
    headCount: readInteger(section, 'num_attention_heads', defaults.headCount, 1, sizeLimits.heads),
    imageSize,
    positionsImageSize: imageSize,
    patchSize: readInteger(section, 'patch_size', defaults.patchSize, 1, sizeLimits.patchSide),
    layerNormEpsilon: readNumber(section, 'layer_norm_eps', defaults.layerNormEpsilon),
    activation: readChoice(section, 'hidden_act', activations, defaults.activation),
  };
  requireDivisible(section, 'hidden_size', vision.hiddenSize, 'num_attention_heads', vision.headCount);
  requireDivisible(section, 'image_size', vision.imageSize, 'patch_size', vision.patchSize);
  const patches = (vision.imageSize / vision.patchSize) ** 2;
  requireAttentionFits(section, 'image_size and patch_size', patches + 1, vision.headCount);
  return vision;
}

/**
 * The vision model for images of another size, as transformers has it with `interpolate_pos_encoding=True`.
 * @param folder of the checkpoint, for the message.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` when the size is no multiple of the patches'.
 */
export function atImageSize(vision: VisionConfig, imageSize: number, folder: string): VisionConfig {
  if (imageSize % vision.patchSize === 0) return { ...vision, imageSize };
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected BLIP_IMAGE_SIZE to be a multiple of patch_size ${vision.patchSize}, got ${imageSize}.`,
  );
}
