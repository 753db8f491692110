import { describe, type JsonSection } from '../files/json-file.ts';
import { parameterColumn } from './generation-parameters.ts';
import { tokenRuleKeys } from './token-rules.ts';

/**
 * Parameters of transformers' `GenerationConfig` that are not supported, each with the values that change nothing. Null,
 * and an empty list or object, change nothing either.
 */
const unsupported: Readonly<Record<string, readonly unknown[]>> = {
  max_time: [],
  stop_strings: [],
  typical_p: [1],
  top_h: [],
  epsilon_cutoff: [0, 1],
  eta_cutoff: [0, 1],
  encoder_repetition_penalty: [1],
  encoder_no_repeat_ngram_size: [0],
  renormalize_logits: [false],
  remove_invalid_values: [false],
  exponential_decay_length_penalty: [],
  token_healing: [false],
  guidance_scale: [1],
  watermarking_config: [],
  num_beam_groups: [1],
  diversity_penalty: [0],
  penalty_alpha: [0],
  dola_layers: [],
  constraints: [],
  force_words_ids: [],
  force_bos_token_to_be_generated: [false],
  forced_decoder_ids: [],
  prompt_lookup_num_tokens: [],
  use_mtp: [false],
};

/** Parameters that change no text: outputs of Python, speed, and origin. */
const withoutEffect: ReadonlySet<string> = new Set([
  'transformers_version',
  '_from_model_config',
  '_commit_hash',
  'use_cache',
  'cache_implementation',
  'cache_config',
  'max_cache_len',
  'return_legacy_cache',
  'return_dict_in_generate',
  'output_attentions',
  'output_hidden_states',
  'output_scores',
  'output_logits',
  'compile_config',
  'disable_compile',
  'low_memory',
  'prefill_chunk_size',
  'continuous_batching_config',
  'is_assistant',
  'num_assistant_tokens',
  'num_assistant_tokens_schedule',
  'assistant_confidence_threshold',
  'assistant_early_exit',
  'assistant_lookbehind',
  'assistant_ensemble_weight',
  'max_matching_ngram_size',
  'target_lookbehind',
  'speculation_type',
]);

/** Special tokens: those of `text_config` hold. */
const specialTokens: readonly string[] = ['bos_token_id', 'eos_token_id', 'pad_token_id', 'decoder_start_token_id'];

const MAX_LISTED = 10;

/** A line for the log about parameters in `text_config` that would change texts in transformers, if there are any. */
export function unsupportedParameters(section: JsonSection): readonly string[] {
  const ignored = Object.entries(section.values).filter(([key, value]) => isUnsupported(key, value));
  return lineOf(section, 'not supported', ignored);
}

/** A line for the log about parameters of a section that no text depends on, where a family has its own. */
export function unreadParameters(section: JsonSection): readonly string[] {
  const usual = usualValues();
  const isRead = (key: string) => !Object.hasOwn(parameterColumn('checkpoint'), key) && !tokenRuleKeys.includes(key);
  const unread = Object.entries(section.values).filter(
    ([key, value]) => !isRead(key) && !isNeutral(value, [usual.get(key)]),
  );
  return lineOf(section, 'transformers does not read these parameters for BLIP-2', unread);
}

/** Lines for the log about keys of generation_config.json that are not supported, or that nobody knows. */
export function ignoredParameters(section: JsonSection): readonly string[] {
  const unknown = Object.entries(section.values).filter(([key, value]) => isUnknown(key) && !isNeutral(value, []));
  return [...unsupportedParameters(section), ...lineOf(section, 'no parameters of generation', unknown)];
}

/** A line for the log about parameters at the top of config.json, where nothing reads them. */
export function misplacedParameters(section: JsonSection): readonly string[] {
  const usual = usualValues();
  const misplaced = Object.entries(section.values).filter(
    ([key, value]) => Object.hasOwn(parameterColumn('checkpoint'), key) && !isNeutral(value, [usual.get(key)]),
  );
  return lineOf(section, 'parameters of generation belong in generation_config.json', misplaced);
}

/** transformers' defaults by their names. */
function usualValues(): ReadonlyMap<string, unknown> {
  return new Map<string, unknown>(Object.entries({ ...parameterColumn('default'), max_length: 20, min_length: 0 }));
}

function isUnsupported(key: string, value: unknown): boolean {
  const neutral = Object.hasOwn(unsupported, key) ? unsupported[key] : undefined;
  return neutral !== undefined && !isNeutral(value, neutral);
}

function isNeutral(value: unknown, neutral: readonly unknown[]): boolean {
  if (value === null || neutral.includes(value)) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function isUnknown(key: string): boolean {
  const isKnown =
    Object.hasOwn(parameterColumn('checkpoint'), key) || Object.hasOwn(unsupported, key) || withoutEffect.has(key);
  return !isKnown && !tokenRuleKeys.includes(key) && !specialTokens.includes(key);
}

function lineOf({ path }: JsonSection, reason: string, entries: readonly (readonly [string, unknown])[]): string[] {
  if (entries.length === 0) return [];
  const shown = entries.slice(0, MAX_LISTED).map(([key, value]) => `${key.slice(0, 40)} ${describe(value)}`);
  const more = entries.length > MAX_LISTED ? ` and ${entries.length - MAX_LISTED} more` : '';
  return [`${path}: ${reason}, so without effect: ${shown.join(', ')}${more}.`];
}
