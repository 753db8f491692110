import type { JsonSection } from '../files/json-file.ts';
import { invalid, readInteger, subsection } from '../files/json-section.ts';
import { type LlamaConfig, readLlamaConfig } from './llama-config.ts';
import { type OptConfig, readOptConfig } from './opt-config.ts';
import { type QFormerConfig, readQFormerConfig } from './qformer-config.ts';
import { sizeLimits } from './size-limits.ts';
import { readT5Config, type T5Config } from './t5-config.ts';
import { readVisionConfig, type VisionConfig } from './vision-config.ts';

/** The parts of a BLIP-2 or InstructBLIP `config.json` that both of their uses have: to write, and to compare. */
interface QFormerParts {
  readonly vision: VisionConfig;
  readonly qFormer: QFormerConfig;
  /** `num_query_tokens`: the vectors that one image becomes. */
  readonly queryCount: number;
  /** Lines for the log: what was assumed, or looks wrong. */
  readonly warnings: readonly string[];
}

/** The language models that a Q-Former's vectors go to. They are told apart by `kind`. */
export type LanguageConfig = OptConfig | T5Config | LlamaConfig;

/** `Blip2ForConditionalGeneration` and `InstructBlipForConditionalGeneration`. */
export interface Blip2Config extends QFormerParts {
  readonly language: LanguageConfig;
  /** Whether the Q-Former reads the prompt besides the image: InstructBLIP. */
  readonly readsInstruction: boolean;
  /**
   * `image_token_index`: the token that stands for each vector of the image among token ids. Files of 2023 lack it. Only
   * penalties of repetition depend on it, which see it once for each vector.
   */
  readonly imageTokenId: number | undefined;
}

/** `Blip2ForImageTextRetrieval` */
export interface Blip2RetrievalConfig extends QFormerParts {
  /** The length of the embeddings that image-text contrast (ITC) compares. */
  readonly imageTextHiddenSize: number;
}

/** Defaults of transformers' `Blip2VisionConfig` and `InstructBlipVisionConfig`. */
const visionDefaults = {
  imageSize: 224,
  patchSize: 14,
  activation: 'gelu',
  hiddenSize: 1408,
  intermediateSize: 6144,
  layerCount: 39,
  headCount: 16,
  layerNormEpsilon: 1e-6,
} as const;

const readers = { opt: readOptConfig, t5: readT5Config, llama: readLlamaConfig } as const;

/**
 * Reads a config.json of BLIP-2 or InstructBLIP with a language model. Missing keys take the defaults of transformers'
 * `Blip2Config` (models/blip_2/configuration_blip_2.py). Unknown keys are ignored.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readBlip2Config(config: JsonSection, readsInstruction: boolean): Blip2Config {
  const language = readLanguageConfig(subsection(config, 'text_config'));
  const hasImageToken = (config.values['image_token_index'] ?? undefined) !== undefined;
  return {
    ...readQFormerParts(config),
    language,
    readsInstruction,
    imageTokenId: hasImageToken
      ? readInteger(config, 'image_token_index', undefined, 0, language.vocabularySize - 1)
      : undefined,
  };
}

/**
 * Reads a config.json of `Blip2ForImageTextRetrieval`. Its `text_config` describes nothing that the weights have.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readBlip2RetrievalConfig(config: JsonSection): Blip2RetrievalConfig {
  return {
    ...readQFormerParts(config),
    imageTextHiddenSize: readInteger(config, 'image_text_hidden_size', 256, 1, sizeLimits.hiddenSize),
  };
}

function readQFormerParts(config: JsonSection): QFormerParts {
  const section = subsection(config, 'vision_config');
  const vision = readVisionConfig(section, visionDefaults);
  return {
    vision,
    qFormer: readQFormerConfig(subsection(config, 'qformer_config'), vision.hiddenSize),
    queryCount: readInteger(config, 'num_query_tokens', 32, 1, sizeLimits.positions),
    warnings: epsilonWarnings(section, vision),
  };
}

/** Copies of published checkpoints have BLIP's epsilon. They were trained with 1e-6. */
function epsilonWarnings({ path }: JsonSection, { layerNormEpsilon }: VisionConfig): readonly string[] {
  if (layerNormEpsilon !== 1e-5) return [];
  return [`${path}: layer_norm_eps is 1e-5; published BLIP-2 were trained with 1e-6, and old copies of them say 1e-5.`];
}

function readLanguageConfig(section: JsonSection): LanguageConfig {
  const kind = section.values['model_type'] ?? 'opt';
  if (kind === 'opt' || kind === 't5' || kind === 'llama') return readers[kind](section);
  throw invalid(section, 'model_type', 'one of opt, t5, llama: other language models are not served', kind);
}
