import type { GenerationDefaults } from '../../checkpoint/config/generation-config.ts';
import type { GenerationInputName, GenerationInputValue } from '../../input_schema.ts';
import { HandlerError } from '../../protocol/errors.ts';

/** Generation parameters of one request, complete and consistent. */
export interface GenerationSettings {
  /** `max_length` of a checkpoint counts the prompt; then this is a function of it. */
  readonly maxNewTokens: LengthLimit;
  readonly minNewTokens: LengthLimit;
  readonly numBeams: number;
  readonly lengthPenalty: number;
  readonly earlyStopping: 'false' | 'true' | 'never';
  readonly numReturnSequences: number;
  readonly repetitionPenalty: number;
  readonly noRepeatNgramSize: number;
  readonly doSample: boolean;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  /** Absent: every request draws anew. */
  readonly seed: number | undefined;
}

/** The settings that all rows of a batch have in common. */
export type SharedSettings = Omit<GenerationSettings, 'maxNewTokens' | 'minNewTokens' | 'seed'>;

/** A number of new tokens, or a length that includes the prompt. */
interface LengthLimit {
  readonly tokens: number;
  readonly includesPrompt: boolean;
}

/** Parameters as a request names them. */
export type GenerationInputs = { readonly [Name in GenerationInputName]?: GenerationInputValue<Name> | undefined };

/** `max_length` that transformers takes for "not set" (generation/utils.py, `_prepare_generated_length`). */
const UNSET_MAX_LENGTH = 20;
const DEFAULT_NEW_TOKENS = 20;

/** transformers' `_get_default_generation_params` (generation/configuration_utils.py). */
const libraryDefaults = {
  num_beams: 1,
  length_penalty: 1,
  early_stopping: false,
  num_return_sequences: 1,
  repetition_penalty: 1,
  no_repeat_ngram_size: 0,
  do_sample: false,
  temperature: 1,
  top_k: 50,
  top_p: 1,
} as const;

/**
 * The request's parameters over its preset's over the checkpoint's over transformers'. Each value is taken to be valid on its own
 * (input_schema.ts); here they are held against each other.
 * @throws HandlerError `INVALID_PARAMETER`.
 */
export function resolveGenerationSettings(
  inputs: GenerationInputs,
  checkpoint: GenerationDefaults,
  preset: Partial<Pick<GenerationSettings, 'maxNewTokens' | 'minNewTokens' | 'numBeams'>> = {},
): GenerationSettings {
  const pick = <Name extends keyof typeof libraryDefaults>(name: Name) =>
    inputs[name] ?? checkpoint[name] ?? libraryDefaults[name];
  const settings: GenerationSettings = {
    maxNewTokens: given(inputs.max_new_tokens) ?? preset.maxNewTokens ?? maxNewTokens(checkpoint),
    minNewTokens: given(inputs.min_new_tokens) ?? preset.minNewTokens ?? minNewTokens(checkpoint),
    numBeams: inputs.num_beams ?? preset.numBeams ?? pick('num_beams'),
    lengthPenalty: pick('length_penalty'),
    earlyStopping: earlyStoppingText(pick('early_stopping')),
    numReturnSequences: pick('num_return_sequences'),
    repetitionPenalty: pick('repetition_penalty'),
    noRepeatNgramSize: pick('no_repeat_ngram_size'),
    doSample: pick('do_sample'),
    temperature: pick('temperature'),
    topK: pick('top_k'),
    topP: pick('top_p'),
    seed: inputs.seed,
  };
  requireConsistent(settings);
  return settings;
}

/** How many tokens a row may add to a prompt of that length: 0 where the limit includes the prompt, which has them all. */
export function newTokenLimit(limit: LengthLimit, promptLength: number): number {
  return limit.includesPrompt ? Math.max(limit.tokens - promptLength, 0) : limit.tokens;
}

function earlyStoppingText(value: boolean | 'true' | 'false' | 'never'): GenerationSettings['earlyStopping'] {
  if (typeof value === 'string') return value;
  return value ? 'true' : 'false';
}

function given(tokens: number | undefined): LengthLimit | undefined {
  return tokens === undefined ? undefined : { tokens, includesPrompt: false };
}

function maxNewTokens(checkpoint: GenerationDefaults): LengthLimit {
  const own = given(checkpoint.max_new_tokens);
  if (own !== undefined) return own;
  const { max_length: maxLength = UNSET_MAX_LENGTH } = checkpoint;
  if (maxLength === UNSET_MAX_LENGTH) return { tokens: DEFAULT_NEW_TOKENS, includesPrompt: false };
  return { tokens: maxLength, includesPrompt: true };
}

function minNewTokens(checkpoint: GenerationDefaults): LengthLimit {
  return given(checkpoint.min_new_tokens) ?? { tokens: checkpoint.min_length ?? 0, includesPrompt: true };
}

function requireConsistent(settings: GenerationSettings): void {
  const { numBeams, numReturnSequences, doSample } = settings;
  if (numBeams > 1 && numReturnSequences > numBeams) {
    throw invalid(`num_return_sequences to be at most num_beams ${numBeams}, got ${numReturnSequences}`);
  }
  if (numBeams === 1 && numReturnSequences > 1 && !doSample) {
    throw invalid(`num_return_sequences 1 without num_beams or do_sample, got ${numReturnSequences}`);
  }
}

function invalid(expectation: string): HandlerError {
  return new HandlerError('INVALID_PARAMETER', `Expected ${expectation}.`);
}
