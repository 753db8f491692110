import type { JsonSection } from '../files/json-file.ts';
import { inconsistent, readChoice, readInteger, readNumber, requireDivisible } from '../files/json-section.ts';
import { readClipSection } from './clip-sections.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';
import { type Activation, activations, readVisionConfig, type VisionConfig } from './vision-config.ts';

/** `text_config` of CLIP: a causal transformer. The token at the end of a text stands for the whole text. */
export interface ClipTextConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly maxPositions: number;
  readonly layerNormEpsilon: number;
  readonly activation: Activation;
  /** The token that stands for the text: the one with the largest id, or the first with this id. */
  readonly pooling: 'largest-id' | { readonly eosTokenId: number };
}

/** The parts of a CLIP `config.json` that the graphs are written from. */
export interface ClipConfig {
  readonly vision: VisionConfig;
  readonly text: ClipTextConfig;
  /** Length of the embeddings, of images as of texts. */
  readonly projectionSize: number;
  /** Lines for the log: what was assumed, or looks wrong. */
  readonly warnings: readonly string[];
}

/** Files written before 2023 have this wrong id and mean the largest: transformers' `CLIPTextTransformer`. */
const PLACEHOLDER_EOS_TOKEN_ID = 2;

/**
 * Reads a CLIP config.json. Missing keys take the defaults of transformers' `CLIPVisionConfig`, `CLIPTextConfig` and
 * `CLIPConfig` (models/clip/configuration_clip.py). Unknown keys are ignored.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readClipConfig(config: JsonSection): ClipConfig {
  const vision = readClipSection(config, 'vision_config', readClipVisionConfig);
  const text = readClipSection(config, 'text_config', readTextConfig);
  return {
    vision: vision.part,
    text: text.part,
    projectionSize: readInteger(config, 'projection_dim', 512, 1, sizeLimits.hiddenSize),
    warnings: [...vision.warnings, ...text.warnings],
  };
}

function readClipVisionConfig(section: JsonSection): VisionConfig {
  const channels = readInteger(section, 'num_channels', 3);
  if (channels !== 3) throw inconsistent(section, 'num_channels 3', channels);
  return readVisionConfig(section, { imageSize: 224, patchSize: 32, activation: 'quick_gelu' });
}

function readTextConfig(section: JsonSection): ClipTextConfig {
  const text = {
    vocabularySize: readInteger(section, 'vocab_size', 49_408, 2, sizeLimits.vocabulary),
    hiddenSize: readInteger(section, 'hidden_size', 512, 1, sizeLimits.hiddenSize),
    intermediateSize: readInteger(section, 'intermediate_size', 2048, 1, sizeLimits.intermediateSize),
    layerCount: readInteger(section, 'num_hidden_layers', 12, 1, sizeLimits.layers),
    headCount: readInteger(section, 'num_attention_heads', 8, 1, sizeLimits.heads),
    maxPositions: readInteger(section, 'max_position_embeddings', 77, 1, sizeLimits.positions),
    layerNormEpsilon: readNumber(section, 'layer_norm_eps', 1e-5),
    activation: readChoice(section, 'hidden_act', activations, 'quick_gelu'),
  };
  requireDivisible(section, 'hidden_size', text.hiddenSize, 'num_attention_heads', text.headCount);
  requireAttentionFits(section, 'max_position_embeddings', text.maxPositions, text.headCount);
  return { ...text, pooling: readPooling(section, text.vocabularySize) };
}

function readPooling(section: JsonSection, vocabularySize: number): ClipTextConfig['pooling'] {
  const eosTokenId = readInteger(section, 'eos_token_id', 49_407, 0);
  if (eosTokenId === PLACEHOLDER_EOS_TOKEN_ID) return 'largest-id';
  if (eosTokenId >= vocabularySize)
    throw inconsistent(section, `eos_token_id to be below vocab_size ${vocabularySize}`, eosTokenId);
  return { eosTokenId };
}
