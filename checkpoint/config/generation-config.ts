import type { JsonSection } from '../files/json-file.ts';
import { invalid } from '../files/json-section.ts';

/** Generation parameters of a checkpoint, by their names in transformers' `GenerationConfig`. Only those it sets. */
export interface GenerationDefaults {
  readonly max_length?: number;
  readonly max_new_tokens?: number;
  readonly min_length?: number;
  readonly min_new_tokens?: number;
  readonly num_beams?: number;
  readonly length_penalty?: number;
  readonly early_stopping?: boolean | 'never';
  readonly num_return_sequences?: number;
  readonly repetition_penalty?: number;
  readonly no_repeat_ngram_size?: number;
  readonly do_sample?: boolean;
  readonly temperature?: number;
  readonly top_k?: number;
  readonly top_p?: number;
}

const keys = {
  max_length: isPositiveCount,
  max_new_tokens: isPositiveCount,
  min_length: isCount,
  min_new_tokens: isCount,
  num_beams: isPositiveCount,
  length_penalty: isNumber,
  early_stopping: (value: unknown) => typeof value === 'boolean' || value === 'never',
  num_return_sequences: isPositiveCount,
  repetition_penalty: isPositive,
  no_repeat_ngram_size: isCount,
  do_sample: (value: unknown) => typeof value === 'boolean',
  temperature: isPositive,
  top_k: isCount,
  top_p: (value: unknown) => isPositive(value) && Number(value) <= 1,
} satisfies Record<keyof GenerationDefaults, (value: unknown) => boolean>;

/**
 * The generation defaults of a checkpoint: what config.json's `text_config` says (the place where published BLIP files
 * keep it), overridden by generation_config.json. `null` counts as absent.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` on a value of the wrong type, or out of its range.
 */
export function readGenerationDefaults(
  textConfig: JsonSection,
  generationConfig: JsonSection | undefined,
): GenerationDefaults {
  return { ...readKeys(textConfig), ...(generationConfig === undefined ? {} : readKeys(generationConfig)) };
}

function readKeys(section: JsonSection): GenerationDefaults {
  const found: Record<string, unknown> = {};
  for (const [key, isValid] of Object.entries(keys)) {
    const value = section.values[key];
    if (value === undefined || value === null) continue;
    if (!isValid(value)) throw invalid(section, key, 'a generation parameter of its usual type and range', value);
    found[key] = value;
  }
  return found; // Each value passed the check of its own key.
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isPositiveCount(value: unknown): boolean {
  return isCount(value) && Number(value) > 0;
}

function isPositive(value: unknown): boolean {
  return isNumber(value) && Number(value) > 0;
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value);
}
