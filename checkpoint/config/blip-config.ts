import type { JsonSection } from '../files/json-file.ts';
import {
  inconsistent,
  readChoice,
  readInteger,
  readNumber,
  requireDivisible,
  subsection,
} from '../files/json-section.ts';
import { requireInVocabulary } from './language-model-config.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';
import { type Activation, activations, readVisionConfig, type VisionConfig } from './vision-config.ts';

/** `text_config`: BERT with cross-attention to an image. */
export interface TextConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  /** Width of the image embeddings that cross-attention reads. */
  readonly encoderHiddenSize: number;
  readonly intermediateSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly maxPositions: number;
  readonly layerNormEpsilon: number;
  readonly activation: Activation;
  /** [DEC]: generation begins with it. */
  readonly bosTokenId: number;
  readonly padTokenId: number;
  /** [SEP]: generation ends with it. `eos_token_id` in published files is a placeholder that nothing reads. */
  readonly sepTokenId: number;
}

/** The parts of a BLIP `config.json` that graphs are written from. */
export interface BlipConfig {
  readonly vision: VisionConfig;
  readonly text: TextConfig;
  /** `image_text_hidden_size`: the length of the embeddings that image-text contrast (ITC) compares. */
  readonly imageTextHiddenSize: number;
  /** Lines for the log: what was assumed, or looks wrong. */
  readonly warnings: readonly string[];
}

/** Defaults of transformers' `BlipVisionConfig`. */
const visionDefaults = { imageSize: 384, patchSize: 16, activation: 'gelu' } as const;

/** Published BLIP text models have heads of this size. The default of transformers, 8 heads, is wrong for all of them. */
const BLIP_HEAD_SIZE = 64;

/**
 * Reads the vision and text sections of a BLIP config.json. Missing keys take the defaults of transformers'
 * `BlipVisionConfig` and `BlipTextConfig` (models/blip/configuration_blip.py), except the number of text heads, whose
 * default there is wrong for every published checkpoint. Unknown keys are ignored.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readBlipConfig(config: JsonSection): BlipConfig {
  const vision = readVisionConfig(subsection(config, 'vision_config'), visionDefaults);
  const textSection = subsection(config, 'text_config');
  const [headCount, warnings] = readTextHeadCount(textSection);
  return {
    vision,
    text: readTextConfig(textSection, vision.hiddenSize, headCount),
    imageTextHiddenSize: readInteger(config, 'image_text_hidden_size', 256, 1, sizeLimits.hiddenSize),
    warnings,
  };
}

function readTextConfig(section: JsonSection, encoderHiddenSize: number, headCount: number): TextConfig {
  const text = {
    vocabularySize: readInteger(section, 'vocab_size', 30_524, 2, sizeLimits.vocabulary),
    hiddenSize: readInteger(section, 'hidden_size', 768, 1, sizeLimits.hiddenSize),
    // transformers overwrites the section's own encoder_hidden_size with the vision width, and so do we.
    encoderHiddenSize,
    intermediateSize: readInteger(section, 'intermediate_size', 3072, 1, sizeLimits.intermediateSize),
    layerCount: readInteger(section, 'num_hidden_layers', 12, 1, sizeLimits.layers),
    headCount,
    maxPositions: readInteger(section, 'max_position_embeddings', 512, 1, sizeLimits.positions),
    layerNormEpsilon: readNumber(section, 'layer_norm_eps', 1e-12),
    activation: readChoice(section, 'hidden_act', activations, 'gelu'),
    bosTokenId: readInteger(section, 'bos_token_id', 30_522, 0),
    padTokenId: readInteger(section, 'pad_token_id', 0, 0),
    sepTokenId: readInteger(section, 'sep_token_id', 102, 0),
  };
  requireDivisible(section, 'hidden_size', text.hiddenSize, 'num_attention_heads', text.headCount);
  requireAttentionFits(section, 'max_position_embeddings', text.maxPositions, text.headCount);
  requireInVocabulary(section, 'bos_token_id', text.bosTokenId, text.vocabularySize);
  requireInVocabulary(section, 'pad_token_id', text.padTokenId, text.vocabularySize);
  requireInVocabulary(section, 'sep_token_id', text.sepTokenId, text.vocabularySize);
  return text;
}

function readTextHeadCount(section: JsonSection): [headCount: number, warnings: string[]] {
  const hiddenSize = readInteger(section, 'hidden_size', 768);
  const usualCount = hiddenSize / BLIP_HEAD_SIZE;
  if ((section.values['num_attention_heads'] ?? undefined) === undefined) {
    if (!Number.isInteger(usualCount)) throw inconsistent(section, 'num_attention_heads', 'nothing');
    return [
      usualCount,
      [`${section.path}: num_attention_heads is missing; ${usualCount} heads of ${BLIP_HEAD_SIZE} are assumed.`],
    ];
  }
  const headCount = readInteger(section, 'num_attention_heads', usualCount, 1, sizeLimits.heads);
  if (headCount === 8 && hiddenSize === 768) {
    const advice = 'every published BLIP checkpoint has 12; answers will be wrong if this file is an old copy.';
    return [headCount, [`${section.path}: num_attention_heads is 8; ${advice}`]];
  }
  return [headCount, []];
}
