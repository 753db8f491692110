import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { describe, isJsonObject, type JsonSection, readJsonFile } from '../files/json-file.ts';
import { inconsistent, invalid, readBoolean, readInteger, readNumber } from '../files/json-section.ts';

/** adapter_config.json of PEFT: how the matrices of a LoRA adapter change those of its base. */
export interface AdapterConfig {
  /** `OWNER/NAME` of the Hub or a folder, with a revision where the file has one. */
  readonly baseModel: string | undefined;
  readonly alpha: number;
  /** Alphas of modules whose name a pattern matches. The first that matches holds. */
  readonly alphaPatterns: readonly AlphaPattern[];
  /** Rank-stabilised LoRA: alpha is divided by the root of the rank. */
  readonly usesRootOfRank: boolean;
  /** DoRA: the rows of a merged matrix get the lengths that the adapter has learnt. */
  readonly usesMagnitudes: boolean;
  /** Modules that were trained as a whole: ends of their names. */
  readonly modulesToSave: readonly string[];
}

export interface AlphaPattern {
  readonly pattern: RegExp;
  readonly alpha: number;
}

const FILE = 'adapter_config.json';

/** Keys that say how an adapter was trained, or that its weights say too. */
const withoutEffect: ReadonlySet<string> = new Set([
  'auto_mapping',
  'base_model_name_or_path',
  'bias',
  'ensure_weight_tying', // PEFT 0.21 unties BLIP's head from saved embeddings all the same.
  'exclude_modules',
  'fan_in_fan_out', // PEFT ignores it for layers that are not GPT-2's, and no model here has those.
  'inference_mode',
  'layers_pattern',
  'layers_to_transform',
  'lora_bias',
  'lora_dropout',
  'megatron_core',
  'peft_type',
  'peft_version',
  'qalora_group_size',
  'r',
  'rank_pattern',
  'revision',
  'runtime_config',
  'target_modules',
  'task_type',
]);

const understood: ReadonlySet<string> = new Set([
  'lora_alpha',
  'alpha_pattern',
  'use_rslora',
  'use_dora',
  'modules_to_save',
]);

/** Ways to begin that leave the base as it was. The others change it, so that its published weights do not fit. */
const initialisations: readonly unknown[] = [undefined, null, true, false, 'gaussian', 'eva', 'orthogonal'];

/**
 * The sentence about a folder that holds an adapter in place of a model, and the command that merges it.
 * @returns `undefined` where the folder has no adapter_config.json.
 */
export function describeAdapter(folder: string): string | undefined {
  const file = readJsonFile(join(folder, FILE));
  if (file === undefined) return undefined;
  const type = typeof file.values['peft_type'] === 'string' ? file.values['peft_type'].slice(0, 40) : 'unknown';
  const base = baseModelOf(file);
  const of = base === undefined ? '' : ` of ${base}`;
  if (type !== 'LORA') return `a PEFT adapter${of} of the type ${type}; merge it in Python (merge_and_unload)`;
  const command = `blip-handler merge ${folder} ${base ?? 'BASE'} NEW_FOLDER`;
  return `a LoRA adapter${of}; "${command}" makes a checkpoint of both`;
}

/**
 * Reads adapter_config.json.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` where there is none, or it asks for what this package cannot merge:
 *   other types than LoRA, and options that change the base or the form of the weights.
 */
export function readAdapterConfig(folder: string): AdapterConfig {
  const file = readJsonFile(join(folder, FILE));
  if (file === undefined) {
    const message = `${folder}: expected the folder of a LoRA adapter, with ${FILE} in it, got ${otherFolder(folder)}.`;
    throw new CheckpointError('CHECKPOINT_CONFIG_INVALID', message);
  }
  if (file.values['peft_type'] !== 'LORA') throw invalid(file, 'peft_type', '"LORA"', file.values['peft_type']);
  requireUnderstood(file);
  return {
    baseModel: baseModelOf(file),
    alpha: readNumber(file, 'lora_alpha', readInteger(file, 'r', 8)),
    alphaPatterns: readAlphaPatterns(file),
    usesRootOfRank: readBoolean(file, 'use_rslora', false),
    usesMagnitudes: readBoolean(file, 'use_dora', false),
    modulesToSave: readModulesToSave(file),
  };
}

function otherFolder(folder: string): string {
  if (!existsSync(folder))
    return 'no such folder; one of the Hub is downloaded with `hf download OWNER/NAME --local-dir FOLDER`';
  if (existsSync(join(folder, 'config.json'))) return 'a whole checkpoint; the adapter is named before its base';
  return 'none';
}

function baseModelOf({ values }: JsonSection): string | undefined {
  const { base_model_name_or_path: base, revision } = values;
  if (typeof base !== 'string' || base === '') return undefined;
  return typeof revision === 'string' && revision !== '' ? `${base}@${revision}` : base;
}

function requireUnderstood(file: JsonSection): void {
  const initialisation = file.values['init_lora_weights'];
  if (!initialisations.includes(initialisation)) {
    const expected = 'init_lora_weights that leave the base as it was; convert the adapter when you save it in Python';
    throw inconsistent(file, expected, describe(initialisation));
  }
  const others = Object.entries(file.values).filter(
    ([key, value]) => key !== 'init_lora_weights' && !withoutEffect.has(key) && !understood.has(key) && isSet(value),
  );
  const [other] = others;
  if (other === undefined) return;
  const [key, value] = other;
  throw invalid(file, key.slice(0, 40), 'off, because such adapters cannot be merged here', value);
}

function isSet(value: unknown): boolean {
  if (value === null || value === false || value === '') return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

function readModulesToSave(file: JsonSection): readonly string[] {
  const modules = file.values['modules_to_save'] ?? [];
  if (Array.isArray(modules) && modules.every((module) => typeof module === 'string')) return modules;
  throw invalid(file, 'modules_to_save', 'a list of names', modules);
}

/**
 * As peft's `get_pattern_key` (utils/other.py): a name, or a regular expression, of whole parts at the end of a module's
 * name.
 */
function readAlphaPatterns(file: JsonSection): readonly AlphaPattern[] {
  const patterns = file.values['alpha_pattern'] ?? {};
  if (!isJsonObject(patterns)) throw invalid(file, 'alpha_pattern', 'an object', patterns);
  const section = { path: `${file.path}: alpha_pattern`, values: patterns };
  const repeatingCount = Object.keys(patterns).filter((key) => quantifierCount(key) > 0).length;
  if (repeatingCount > MAX_REPEATING_PATTERNS)
    throw invalid(
      file,
      'alpha_pattern',
      `names, with at most ${MAX_REPEATING_PATTERNS} that repeat something`,
      repeatingCount,
    );
  return Object.keys(patterns).map((key) => ({ pattern: patternOf(file, key), alpha: readNumber(section, key, 0) }));
}

const MAX_PATTERN_LENGTH = 200;
const MAX_QUANTIFIERS = 3;
/** A pattern of so many quantifiers takes 0.1 s for the longest name that is taken. Plain names take no time. */
const MAX_REPEATING_PATTERNS = 16;

function quantifierCount(key: string): number {
  return key.match(/[*+?{]/g)?.length ?? 0;
}

/** No pattern may repeat a group, or much: a stranger's could match for ever. */
function patternOf(file: JsonSection, key: string): RegExp {
  const isSimple = key.length <= MAX_PATTERN_LENGTH && quantifierCount(key) <= MAX_QUANTIFIERS && !/\)[*+?{]/.test(key);
  if (!isSimple) throw invalid(file, 'alpha_pattern', 'names, or short regular expressions that repeat no group', key);
  try {
    return new RegExp(`^(?:.*\\.)?(?:${key})$`);
  } catch {
    throw invalid(file, 'alpha_pattern', 'names or regular expressions', key);
  }
}
