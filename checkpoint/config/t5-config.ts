import type { JsonSection } from '../files/json-file.ts';
import { invalid, readBoolean, readChoice, readInteger, readNumber } from '../files/json-section.ts';
import { type LanguageModelConfig, requireInVocabulary } from './language-model-config.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';
import { type Activation, activations } from './vision-config.ts';

/** `text_config` of T5: an encoder and a decoder whose attention knows distances in place of positions. */
export interface T5Config extends LanguageModelConfig {
  readonly kind: 't5';
  readonly encoderLayerCount: number;
  readonly layerNormEpsilon: number;
  readonly activation: Activation;
  /** The feed-forward block multiplies two projections: `wi_0` with the activation, and `wi_1`. */
  readonly isGated: boolean;
  /** `relative_attention_num_buckets`: how many distances are told apart, in both directions together. */
  readonly distanceBucketCount: number;
  /** `relative_attention_max_distance`: all larger distances share a bucket. */
  readonly maxDistance: number;
  /** The decoder's first token. */
  readonly startTokenId: number;
  /** Whether the decoder's output is multiplied by `hiddenSize ** -0.5` before the head. */
  readonly scalesOutput: boolean;
}

/** T5 has no positions. This many tokens of image and prompt, or of answer, are our own limit. */
const MAX_TOKENS = 2048;

/**
 * Reads a `text_config` of T5. Missing keys take the defaults of transformers' `T5Config`
 * (models/t5/configuration_t5.py).
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readT5Config(section: JsonSection): T5Config {
  const vocabularySize = readInteger(section, 'vocab_size', 32_128, 2, sizeLimits.vocabulary);
  const headCount = readInteger(section, 'num_heads', 8, 1, sizeLimits.heads);
  requireAttentionFits(section, 'image and prompt', MAX_TOKENS, headCount);
  const encoderLayerCount = readInteger(section, 'num_layers', 6, 1, sizeLimits.layers);
  const token = (key: string, usual: number) =>
    requireInVocabulary(section, key, readInteger(section, key, usual, 0), vocabularySize);
  const padTokenId = token('pad_token_id', 0);
  const endTokenId = token('eos_token_id', 1);
  const isTied = readBoolean(section, 'tie_word_embeddings', true);
  return {
    kind: 't5',
    vocabularySize,
    hiddenSize: readInteger(section, 'd_model', 512, 1, sizeLimits.hiddenSize),
    intermediateSize: readInteger(section, 'd_ff', 2048, 1, sizeLimits.intermediateSize),
    layerCount: readInteger(section, 'num_decoder_layers', encoderLayerCount, 1, sizeLimits.layers),
    headCount,
    headSize: readInteger(section, 'd_kv', 64, 1, sizeLimits.hiddenSize),
    keyValueHeadCount: headCount,
    maxPositions: MAX_TOKENS,
    bosTokenId: token('bos_token_id', endTokenId),
    padTokenId,
    endTokenIds: [endTokenId],
    encoderLayerCount,
    layerNormEpsilon: readNumber(section, 'layer_norm_epsilon', 1e-6),
    ...readFeedForward(section),
    ...readDistances(section),
    startTokenId: token('decoder_start_token_id', padTokenId),
    scalesOutput: readBoolean(section, 'scale_decoder_outputs', isTied),
  };
}

/** Half of a decoder's buckets have one distance each, and the others share those from there to the largest. */
function readDistances(section: JsonSection): Pick<T5Config, 'distanceBucketCount' | 'maxDistance'> {
  const distanceBucketCount = readInteger(section, 'relative_attention_num_buckets', 32, 4, 4096);
  const maxDistance = readInteger(section, 'relative_attention_max_distance', 128, 2, sizeLimits.positions);
  if (maxDistance <= distanceBucketCount / 2) {
    const expected = `more than half of relative_attention_num_buckets, ${distanceBucketCount}`;
    throw invalid(section, 'relative_attention_max_distance', expected, maxDistance);
  }
  return { distanceBucketCount, maxDistance };
}

/**
 * The activation is `dense_act_fn` where the file has it: published BLIP-2 say "gelu" there, which is exact, beside a
 * `feed_forward_proj` "gated-gelu", which would mean `gelu_new`.
 */
function readFeedForward(section: JsonSection): Pick<T5Config, 'activation' | 'isGated'> {
  const value = section.values['feed_forward_proj'] ?? 'relu';
  const match = typeof value === 'string' ? /^(gated-)?(\w+)$/.exec(value) : null;
  if (match === null) throw invalid(section, 'feed_forward_proj', 'the name of an activation', value);
  const named = activations.find((activation) => activation === match[2]);
  const usual = value === 'gated-gelu' ? 'gelu_new' : named;
  if (usual === undefined && (section.values['dense_act_fn'] ?? undefined) === undefined)
    throw invalid(section, 'feed_forward_proj', `one of ${activations.join(', ')}, or gated- and one of them`, value);
  return {
    activation: readChoice(section, 'dense_act_fn', activations, usual ?? 'relu'),
    isGated: match[1] !== undefined,
  };
}
