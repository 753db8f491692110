import type { JsonSection } from '../files/json-file.ts';
import { invalid } from '../files/json-section.ts';
import { type ParameterColumn, parameterColumn } from './generation-parameters.ts';

type Checks = ParameterColumn<'checkpoint'>;
type Checked<Check> = Check extends (value: unknown) => value is infer Value ? Value : never;

/** The generation parameters that a checkpoint sets, by their names in transformers' `GenerationConfig`. */
export type GenerationDefaults = { readonly [Name in keyof Checks]?: Checked<Checks[Name]> };

/**
 * Reads the generation defaults of a checkpoint: those of generation_config.json over those of `text_config` in
 * config.json, where published BLIP files have them. `null` counts as absent.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` on a value of the wrong type, or out of its range.
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
    if (!isValid(value)) throw invalid(section, name, 'a generation parameter of its usual type and range', value);
    values[name] = value;
  }
  return values; // Each value passed the check of its own name.
}
