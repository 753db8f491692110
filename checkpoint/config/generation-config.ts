import { describe, type JsonSection } from '../files/json-file.ts';
import { inconsistent, invalid } from '../files/json-section.ts';
import { MAX_COUNT, type ParameterColumn, parameterColumn } from './generation-parameters.ts';
import { ignoredParameters, unsupportedParameters } from './ignored-parameters.ts';
import { noTokenRules, readTokenRules, type TokenRules } from './token-rules.ts';

type Checks = ParameterColumn<'checkpoint'>;
type Checked<Check> = Check extends (value: unknown) => value is infer Value ? Value : never;

/** The generation parameters that a checkpoint sets, by their names in transformers' `GenerationConfig`. */
export type GenerationDefaults = { readonly [Name in keyof Checks]?: Checked<Checks[Name]> };

/** How a checkpoint wants texts to be generated, and what the log says of it. */
export interface GenerationConfig {
  readonly defaults: GenerationDefaults;
  readonly tokenRules: TokenRules;
  /** Changes that the files make: for BLIP, transformers 5 reads neither, and transformers 4 `text_config` alone. */
  readonly notices: readonly string[];
  /** Parameters that are not supported, or cannot be. */
  readonly warnings: readonly string[];
}

/** The parts of a text model that generation depends on. */
interface TextModel {
  readonly vocabularySize: number;
  readonly maxPositions: number;
  readonly bosTokenId: number;
  readonly padTokenId: number;
  /** It ends a text. */
  readonly sepTokenId: number;
}

/**
 * Reads how a checkpoint generates: generation_config.json comes before `text_config` of config.json, where published BLIP
 * files have their parameters. `null` counts as absent.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` on a value of the wrong type, or out of the bounds of requests.
 */
export function readGenerationConfig(
  textConfig: JsonSection,
  generationConfig: JsonSection | undefined,
  text: TextModel,
): GenerationConfig {
  const defaults = readGenerationDefaults(textConfig, generationConfig);
  const vocabulary = { vocabularySize: text.vocabularySize, endTokenId: text.sepTokenId };
  const textRules = readTokenRules(textConfig, vocabulary);
  const rules = { ...noTokenRules, ...textRules };
  const notices = changes(textConfig, readKeys(textConfig), usualValues, textRules);
  const last = generationConfig ?? textConfig;
  const limits = [
    ...unusedZeros(textConfig),
    ...lengthWarnings(last, defaults, text),
    ...countWarnings(last, defaults),
  ];
  if (generationConfig === undefined) {
    return { defaults, tokenRules: rules, notices, warnings: [...unsupportedParameters(textConfig), ...limits] };
  }
  const ownRules = readTokenRules(generationConfig, vocabulary);
  return {
    defaults,
    tokenRules: { ...rules, ...ownRules },
    notices: [
      ...notices,
      ...changes(generationConfig, readKeys(generationConfig), { ...usualValues, ...readKeys(textConfig) }, ownRules),
    ],
    warnings: [
      ...unsupportedParameters(textConfig),
      ...ignoredParameters(generationConfig),
      ...unusedZeros(generationConfig),
      ...otherSpecialTokens(generationConfig, specialTokensOf(text, generationConfig)),
      ...limits,
    ],
  };
}

/**
 * Reads the generation defaults of a checkpoint.
 * @throws as `readGenerationConfig` does.
 */
export function readGenerationDefaults(
  textConfig: JsonSection,
  generationConfig: JsonSection | undefined,
): GenerationDefaults {
  return { ...readKeys(textConfig), ...(generationConfig === undefined ? {} : readKeys(generationConfig)) };
}

function readKeys(section: JsonSection): GenerationDefaults {
  const values: Record<string, unknown> = {};
  for (const [name, isValid] of Object.entries(parameterColumn('checkpoint'))) {
    const value = section.values[name];
    if (value === undefined || value === null) continue;
    if (isUnusedZero(section, name)) continue;
    if (!isValid(value)) throw invalid(section, name, expectedOf(name), value);
    if (typeof value === 'number') requireWithin(section, name, value);
    values[name] = value;
  }
  return values; // Each value passed the check of its own name.
}

/** Files for greedy search say so, and transformers warns and goes on where nothing is drawn. */
const zeros: readonly string[] = ['temperature', 'top_p'];

function isUnusedZero({ values }: JsonSection, name: string): boolean {
  return zeros.includes(name) && values[name] === 0 && values['do_sample'] !== true;
}

interface Bounds {
  readonly datatype: string;
  readonly allowed?: readonly (string | boolean)[];
  readonly exclusiveMinimum?: number;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Describes the values that a parameter may have, as messages for requests do. */
function expectedOf(name: string): string {
  const inputs: Readonly<Record<string, Bounds>> = parameterColumn('input');
  const { datatype = '', allowed, minimum, exclusiveMinimum, maximum = MAX_COUNT } = inputs[name] ?? {};
  if (datatype === 'BOOL') return 'true or false';
  if (allowed !== undefined)
    return `one of ${allowed.filter((value) => value !== 'true' && value !== 'false').join(', ')}`;
  const least = minimum === undefined ? `above ${exclusiveMinimum}` : `from ${minimum}`;
  return `a ${datatype === 'INT64' ? 'whole ' : ''}number ${least} to ${maximum}`;
}

/** A checkpoint may ask for no more than a request may. */
function requireWithin(section: JsonSection, name: string, value: number): void {
  const inputs: Readonly<Record<string, Bounds>> = parameterColumn('input');
  const { minimum = Number.NEGATIVE_INFINITY, maximum = MAX_COUNT } = inputs[name] ?? {};
  if (value < minimum) throw inconsistent(section, `${name} to be at least ${minimum}`, value);
  if (value > maximum) throw inconsistent(section, `${name} to be at most ${maximum}`, value);
}

/** `max_length` and `min_length` of transformers' `GenerationConfig`, beside the table's defaults. */
const usualValues: GenerationDefaults = { max_length: 20, min_length: 0, ...parameterColumn('default') };

/** A line about the values that are not those that hold without them. */
function changes(
  { path }: JsonSection,
  defaults: GenerationDefaults,
  before: GenerationDefaults,
  rules: Partial<TokenRules>,
): readonly string[] {
  const old = new Map<string, unknown>(Object.entries(before));
  const changed = Object.entries(defaults).filter(([name, value]) => old.get(name) !== value);
  const values = changed.map(([name, value]) => `${name} ${describe(value)}`);
  const all = [...values, ...Object.keys(rules).map(keyOfRule)];
  return all.length === 0 ? [] : [`${path} sets ${all.join(', ')}. transformers 5 does not read this for BLIP.`];
}

function keyOfRule(name: string): string {
  return name.replace('TokenIds', 'TokenId').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Files that transformers wrote have the placeholder 2 as the end. */
const PLACEHOLDER_EOS_TOKEN_ID = 2;

function specialTokensOf(text: TextModel, { values }: JsonSection): Readonly<Record<string, number>> {
  const { bosTokenId, padTokenId, sepTokenId } = text;
  const start = { bos_token_id: bosTokenId, decoder_start_token_id: bosTokenId, pad_token_id: padTokenId };
  return values['eos_token_id'] === PLACEHOLDER_EOS_TOKEN_ID ? start : { ...start, eos_token_id: sepTokenId };
}

/**
 * Lines for the log about special tokens that generation_config.json has otherwise than `text_config`.
 * @param used the tokens of `text_config`, by their keys.
 */
export function otherSpecialTokens(
  { path, values }: JsonSection,
  used: Readonly<Record<string, number>>,
): readonly string[] {
  return Object.entries(used).flatMap(([key, id]) => {
    const value = values[key] ?? id;
    const isUsed = value === id || (Array.isArray(value) && value.length === 1 && value[0] === id);
    if (isUsed) return [];
    return [`${path}: ${key} ${describe(value)} is without effect: ${id} of text_config is used, as in transformers.`];
  });
}

function unusedZeros(section: JsonSection): readonly string[] {
  const unused = zeros.filter((name) => isUnusedZero(section, name));
  return unused.map((name) => `${section.path}: ${name} 0 is without effect, as nothing is drawn without do_sample.`);
}

/** transformers does not load such a file. Here requests may still set the other number. */
function countWarnings({ path }: JsonSection, defaults: GenerationDefaults): readonly string[] {
  const { num_beams: beams = 1, num_return_sequences: sequences = 1, do_sample: draws = false } = defaults;
  const isPossible = sequences === 1 || (beams === 1 ? draws : sequences <= beams);
  if (isPossible) return [];
  return [`${path}: num_return_sequences ${sequences} is more than num_beams ${beams}: requests need others.`];
}

/** Lengths that no text can have. transformers goes on with them, and so does this package. */
function lengthWarnings({ path }: JsonSection, defaults: GenerationDefaults, text: TextModel): readonly string[] {
  const {
    max_new_tokens: maxNew,
    max_length: maxLength = 20,
    min_new_tokens: minNew,
    min_length: minLength,
  } = defaults;
  const lines: string[] = [];
  const [maxName, max] = maxNew === undefined ? ['max_length', maxLength] : ['max_new_tokens', maxNew];
  const [minName, min] = minNew === undefined ? ['min_length', minLength ?? 0] : ['min_new_tokens', minNew];
  if (min > max) lines.push(`${path}: ${minName} ${min} is more than ${maxName} ${max}: texts end at ${maxName}.`);
  const positions = text.maxPositions + (maxNew === undefined ? 1 : 0);
  if (max > positions) {
    const advice = 'texts end where the positions do';
    lines.push(`${path}: ${maxName} ${max} does not fit max_position_embeddings ${text.maxPositions}: ${advice}.`);
  }
  return lines;
}
