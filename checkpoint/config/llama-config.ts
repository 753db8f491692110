import type { JsonSection } from '../files/json-file.ts';
import {
  inconsistent,
  readBoolean,
  readChoice,
  readInteger,
  readNumber,
  requireDivisible,
  subsection,
} from '../files/json-section.ts';
import { type LanguageModelConfig, requireInVocabulary } from './language-model-config.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';

/** `text_config` of LLaMA, as Vicuna is: a decoder with rotary positions. */
export interface LlamaConfig extends LanguageModelConfig {
  readonly kind: 'llama';
  readonly rmsNormEpsilon: number;
  /** `rope_parameters.rope_theta`, or `rope_theta` in older files: the base of the rotary positions. */
  readonly ropeTheta: number;
  /** `attention_bias`, `mlp_bias` */
  readonly hasAttentionBias: boolean;
  readonly hasFeedForwardBias: boolean;
}

/** Ids of LLaMA's own vocabulary. */
const START_TOKEN_ID = 1;
const END_TOKEN_ID = 2;

/**
 * Published InstructBLIP name the start `<s>` as `eos_token_id`, and Vicuna ends its texts with `</s>`: without the second
 * token every text goes on to its greatest length, as it does in transformers.
 */
function endTokensOf(eosTokenId: number, vocabularySize: number): readonly [number, ...number[]] {
  return eosTokenId === START_TOKEN_ID && END_TOKEN_ID < vocabularySize ? [eosTokenId, END_TOKEN_ID] : [eosTokenId];
}

/**
 * Files of transformers 5 have `rope_parameters`; older ones `rope_theta`, and `rope_scaling` where positions are stretched
 * for longer texts. Like transformers, reads the one that scales before the other.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` for any scaling: no published InstructBLIP has one.
 */
function readRopeTheta(section: JsonSection): number {
  const places = [subsection(section, 'rope_scaling'), subsection(section, 'rope_parameters')];
  for (const place of places) for (const key of ['rope_type', 'type']) readChoice(place, key, ['default'], 'default');
  const usual = readNumber(section, 'rope_theta', 10_000);
  const place = places.find(({ values }) => Object.keys(values).length > 0) ?? section;
  const theta = readNumber(place, 'rope_theta', usual);
  if (theta > 0) return theta;
  throw inconsistent(section, 'rope_theta to be above 0', theta);
}

/** Rotary positions turn the halves of a head against each other. */
function readHeadSize(section: JsonSection, usual: number): number {
  const headSize = readInteger(section, 'head_dim', usual, 1, sizeLimits.hiddenSize);
  if (headSize % 2 === 0) return headSize;
  throw inconsistent(section, 'head_dim to be even', headSize);
}

/**
 * Reads a `text_config` of LLaMA. Missing keys take the defaults of transformers' `LlamaConfig`
 * (models/llama/configuration_llama.py).
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readLlamaConfig(section: JsonSection): LlamaConfig {
  const vocabularySize = readInteger(section, 'vocab_size', 32_000, 2, sizeLimits.vocabulary);
  const hiddenSize = readInteger(section, 'hidden_size', 4096, 1, sizeLimits.hiddenSize);
  const headCount = readInteger(section, 'num_attention_heads', 32, 1, sizeLimits.heads);
  const keyValueHeadCount = readInteger(section, 'num_key_value_heads', headCount, 1, sizeLimits.heads);
  const hasHeadSize = (section.values['head_dim'] ?? undefined) !== undefined;
  if (!hasHeadSize) requireDivisible(section, 'hidden_size', hiddenSize, 'num_attention_heads', headCount);
  requireDivisible(section, 'num_attention_heads', headCount, 'num_key_value_heads', keyValueHeadCount);
  const maxPositions = readInteger(section, 'max_position_embeddings', 2048, 1, sizeLimits.positions);
  requireAttentionFits(section, 'max_position_embeddings', maxPositions, headCount);
  const token = (key: string, usual: number) =>
    requireInVocabulary(section, key, readInteger(section, key, usual, 0), vocabularySize);
  readChoice(section, 'hidden_act', ['silu'], 'silu');
  return {
    kind: 'llama',
    vocabularySize,
    hiddenSize,
    intermediateSize: readInteger(section, 'intermediate_size', 11_008, 1, sizeLimits.intermediateSize),
    layerCount: readInteger(section, 'num_hidden_layers', 32, 1, sizeLimits.layers),
    headCount,
    headSize: readHeadSize(section, hiddenSize / headCount),
    keyValueHeadCount,
    maxPositions,
    bosTokenId: token('bos_token_id', 1),
    padTokenId: Math.max(0, readInteger(section, 'pad_token_id', 0, -1)),
    endTokenIds: endTokensOf(token('eos_token_id', END_TOKEN_ID), vocabularySize),
    rmsNormEpsilon: readNumber(section, 'rms_norm_eps', 1e-6),
    ropeTheta: readRopeTheta(section),
    hasAttentionBias: readBoolean(section, 'attention_bias', false),
    hasFeedForwardBias: readBoolean(section, 'mlp_bias', false),
  };
}
