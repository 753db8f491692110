import type { JsonSection } from '../files/json-file.ts';
import { inconsistent, readBoolean, readChoice, readInteger, requireDivisible } from '../files/json-section.ts';
import { type LanguageModelConfig, requireInVocabulary } from './language-model-config.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';
import { type Activation, activations } from './vision-config.ts';

/** `text_config` of OPT: a decoder with learned positions. */
export interface OptConfig extends LanguageModelConfig {
  readonly kind: 'opt';
  readonly activation: Activation;
  /** `do_layer_norm_before`: a norm stands before each block, and after the last layer; or else behind each block. */
  readonly normFirst: boolean;
  readonly hasFinalNorm: boolean;
  /** `enable_bias` */
  readonly hasBias: boolean;
  /** `layer_norm_elementwise_affine` */
  readonly hasNormWeights: boolean;
}

/**
 * transformers scatters the image's vectors, which have the width of the layers, among embeddings of another width without
 * an error: no such checkpoint can have been trained.
 */
function requireWideEmbeddings(section: JsonSection, hiddenSize: number): void {
  const size = readInteger(section, 'word_embed_proj_dim', hiddenSize, 1, sizeLimits.hiddenSize);
  if (size !== hiddenSize) throw inconsistent(section, `word_embed_proj_dim to be hidden_size ${hiddenSize}`, size);
}

/** transformers' OPT has no key for it (models/opt/modeling_opt.py). */
export const OPT_LAYER_NORM_EPSILON = 1e-5;

/**
 * Reads a `text_config` of OPT. Missing keys take the defaults of transformers' `OPTConfig`
 * (models/opt/configuration_opt.py).
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readOptConfig(section: JsonSection): OptConfig {
  const vocabularySize = readInteger(section, 'vocab_size', 50_272, 2, sizeLimits.vocabulary);
  const hiddenSize = readInteger(section, 'hidden_size', 768, 1, sizeLimits.hiddenSize);
  const headCount = readInteger(section, 'num_attention_heads', 12, 1, sizeLimits.heads);
  requireDivisible(section, 'hidden_size', hiddenSize, 'num_attention_heads', headCount);
  const maxPositions = readInteger(section, 'max_position_embeddings', 2048, 1, sizeLimits.positions);
  requireAttentionFits(section, 'max_position_embeddings', maxPositions, headCount);
  const token = (key: string, usual: number) =>
    requireInVocabulary(section, key, readInteger(section, key, usual, 0), vocabularySize);
  requireWideEmbeddings(section, hiddenSize);
  const normFirst = readBoolean(section, 'do_layer_norm_before', true);
  return {
    kind: 'opt',
    vocabularySize,
    hiddenSize,
    intermediateSize: readInteger(section, 'ffn_dim', 3072, 1, sizeLimits.intermediateSize),
    layerCount: readInteger(section, 'num_hidden_layers', 12, 1, sizeLimits.layers),
    headCount,
    headSize: hiddenSize / headCount,
    keyValueHeadCount: headCount,
    maxPositions,
    bosTokenId: token('bos_token_id', 2),
    padTokenId: token('pad_token_id', 1),
    endTokenIds: [token('eos_token_id', 2)],
    activation: readChoice(section, 'activation_function', activations, 'relu'),
    normFirst,
    hasFinalNorm: normFirst && !readBoolean(section, '_remove_final_layer_norm', false),
    hasBias: readBoolean(section, 'enable_bias', true),
    hasNormWeights: readBoolean(section, 'layer_norm_elementwise_affine', true),
  };
}
