import type { GenerationDefaults } from '../../checkpoint/config/generation-config.ts';
import { type ParameterColumn, parameterColumn } from '../../checkpoint/config/generation-parameters.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import type { SharedSettings } from '../sessions/generation-batch.ts';

/** The generation parameters of one request, complete and consistent. */
export interface GenerationSettings {
  readonly maxNewTokens: LengthLimit;
  readonly minNewTokens: LengthLimit;
  /** Absent: every request draws anew. */
  readonly seed: number | undefined;
  readonly shared: SharedSettings;
}

/**
 * A number of new tokens; or a length that includes start token and prompt, as `max_length` does: BLIP's decoder gets them
 * as its `input_ids`, in transformers and in the original (`BlipForConditionalGeneration.generate`).
 */
interface LengthLimit {
  readonly tokens: number;
  readonly includesPrompt: boolean;
  /** A checkpoint's own, or the service's: where the model has fewer positions, texts end there. A request is refused. */
  readonly endsAtPositions?: true;
  /** The operator's limit of new tokens, which never includes the prompt. */
  readonly atMost?: number | undefined;
}

/** The most that an operator lets a request ask for. */
export interface GenerationLimits {
  /** Beams, or returned texts, of one item. */
  readonly maxBeams: number;
  readonly maxNewTokens: number | undefined;
}

const anyLimits: GenerationLimits = { maxBeams: Number.POSITIVE_INFINITY, maxNewTokens: undefined };

/** The parameters that a request sets. */
export type GenerationInputs = InputsOf<ParameterColumn<'input'>>;

/** The parameters that a preset sets. */
export interface PresetSettings {
  readonly maxNewTokens?: LengthLimit;
  readonly minNewTokens?: LengthLimit;
  readonly num_beams?: number;
  readonly length_penalty?: number;
  readonly repetition_penalty?: number;
}

/** A preset that no request asked for: like a checkpoint's own values, its values are lowered to what is possible. */
export function usualSettings(preset: PresetSettings, { maxBeams }: GenerationLimits): PresetSettings {
  const { maxNewTokens, num_beams: beams } = preset;
  return {
    ...preset,
    ...(maxNewTokens === undefined ? {} : { maxNewTokens: { ...maxNewTokens, endsAtPositions: true } }),
    ...(beams === undefined ? {} : { num_beams: Math.min(beams, maxBeams) }),
  };
}

/** `max_length` that transformers takes for "not set" (generation/utils.py, `_prepare_generated_length`). */
const UNSET_MAX_LENGTH = 20;
const DEFAULT_NEW_TOKENS = 20;

/**
 * Resolves each parameter: the request's value before its preset's, the checkpoint's and transformers'. Every value is
 * valid by itself (input_schema.ts); this function checks them against each other, and against the operator's limits.
 * A request that asks for more than those is refused. A checkpoint's own values are lowered to them.
 * @throws HandlerError `INVALID_PARAMETER`.
 */
export function resolveGenerationSettings(
  inputs: GenerationInputs,
  checkpoint: GenerationDefaults,
  preset: PresetSettings = {},
  limits: GenerationLimits = anyLimits,
): GenerationSettings {
  requireWithin(inputs, preset, limits);
  const shared = resolveShared(inputs, lowered(checkpoint, limits), preset);
  requireConsistent(shared);
  const maximum =
    newTokens(inputs.max_new_tokens) ??
    wholeLength(inputs.max_length) ??
    preset.maxNewTokens ??
    maxNewTokens(checkpoint);
  requireReachable(inputs.min_new_tokens, maximum);
  return {
    maxNewTokens: { ...maximum, atMost: limits.maxNewTokens },
    minNewTokens:
      newTokens(inputs.min_new_tokens) ??
      wholeLength(inputs.min_length) ??
      preset.minNewTokens ??
      minNewTokens(checkpoint),
    seed: inputs.seed,
    shared,
  };
}

/**
 * The number of tokens that a row may add to its prompt: 0 where the limit includes the prompt and the prompt fills it.
 * @param maxPositions of the model. The last new token needs none.
 */
export function newTokenLimit(
  limit: LengthLimit,
  promptLength: number,
  maxPositions = Number.POSITIVE_INFINITY,
): number {
  const tokens = limit.includesPrompt ? Math.max(limit.tokens - promptLength, 0) : limit.tokens;
  const room = limit.endsAtPositions === true ? Math.max(maxPositions + 1 - promptLength, 1) : tokens;
  return Math.min(tokens, room, limit.atMost ?? tokens);
}

/** @throws HandlerError `INVALID_PARAMETER` when a request, or the preset that it names, asks for too much. */
function requireWithin(inputs: GenerationInputs, preset: PresetSettings, limits: GenerationLimits): void {
  const { maxBeams, maxNewTokens: maxTokens = Number.POSITIVE_INFINITY } = limits;
  const asked = [
    ['num_beams', inputs.num_beams ?? preset.num_beams ?? 1, maxBeams],
    ['num_return_sequences', inputs.num_return_sequences ?? 1, maxBeams],
    ['max_new_tokens', inputs.max_new_tokens ?? 0, maxTokens],
    // The start token is no new one.
    ['max_length', inputs.max_new_tokens === undefined ? (inputs.max_length ?? 0) : 0, maxTokens + 1],
  ] as const;
  for (const [name, value, maximum] of asked)
    if (value > maximum) throw invalid(`${name} to be at most ${maximum}, which this service allows, got ${value}`);
}

/** The checkpoint's own values, lowered to the limits. */
function lowered(checkpoint: GenerationDefaults, { maxBeams }: GenerationLimits): GenerationDefaults {
  const { num_beams: beams = 1, num_return_sequences: sequences = 1 } = checkpoint;
  if (beams <= maxBeams && sequences <= maxBeams) return checkpoint;
  return { ...checkpoint, num_beams: Math.min(beams, maxBeams), num_return_sequences: Math.min(sequences, maxBeams) };
}

function resolveShared(
  inputs: GenerationInputs,
  checkpoint: GenerationDefaults,
  preset: PresetSettings,
): SharedSettings {
  const sources: readonly Readonly<Record<string, unknown>>[] = [inputs, { ...preset }, checkpoint];
  const settings = Object.entries(parameterColumn('default')).map(([name, usual]) => {
    const value = sources.map((source) => source[name]).find((each) => each !== undefined) ?? usual;
    return [name, graphValue(name, value)];
  });
  return Object.fromEntries(settings) as SharedSettings; // One valid value for each row of the table with a default.
}

/** The value as the graph takes it: its number, where the table numbers the values. */
function graphValue(name: string, value: unknown): unknown {
  const input = Object.entries(parameterColumn('graph')).find(([each]) => each === name)?.[1];
  if (input === undefined || !('numbers' in input)) return value;
  const numbers: Readonly<Record<string, number>> = input.numbers;
  const number = numbers[String(value)];
  if (number === undefined) throw new RangeError(`Expected a value of ${name} that the table numbers, got ${value}.`);
  return number;
}

function newTokens(tokens: number | undefined): LengthLimit | undefined {
  return tokens === undefined ? undefined : { tokens, includesPrompt: false };
}

function wholeLength(tokens: number | undefined): LengthLimit | undefined {
  return tokens === undefined ? undefined : { tokens, includesPrompt: true };
}

function maxNewTokens(checkpoint: GenerationDefaults): LengthLimit {
  const limit = newTokens(checkpoint.max_new_tokens);
  if (limit !== undefined) return { ...limit, endsAtPositions: true };
  const { max_length: maxLength = UNSET_MAX_LENGTH } = checkpoint;
  if (maxLength === UNSET_MAX_LENGTH) return { tokens: DEFAULT_NEW_TOKENS, includesPrompt: false };
  return { tokens: maxLength, includesPrompt: true, endsAtPositions: true };
}

function minNewTokens(checkpoint: GenerationDefaults): LengthLimit {
  return newTokens(checkpoint.min_new_tokens) ?? { tokens: checkpoint.min_length ?? 0, includesPrompt: true };
}

function requireConsistent(settings: SharedSettings): void {
  const { num_beams: numBeams, num_return_sequences: numReturnSequences, do_sample: doSample } = settings;
  if (numBeams > 1 && numReturnSequences > numBeams) {
    throw invalid(`num_return_sequences to be at most num_beams ${numBeams}, got ${numReturnSequences}`);
  }
  if (numBeams === 1 && numReturnSequences > 1 && !doSample) {
    throw invalid(`num_return_sequences 1 without num_beams or do_sample, got ${numReturnSequences}`);
  }
}

/** transformers warns of a request for more tokens than there may be, and ends the text early. No answer can warn. */
function requireReachable(minNewTokens: number | undefined, { tokens, includesPrompt }: LengthLimit): void {
  const most = includesPrompt ? tokens - 1 : tokens; // A prompt has a token at least.
  if (minNewTokens === undefined || minNewTokens <= most) return;
  throw invalid(`min_new_tokens to be at most max_new_tokens ${most}, got ${minNewTokens}`);
}

function invalid(expectation: string): HandlerError {
  return new HandlerError('INVALID_PARAMETER', `Expected ${expectation}.`);
}
