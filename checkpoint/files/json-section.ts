import { CheckpointError } from '../errors.ts';
import { describe, isJsonObject, type JsonSection } from './json-file.ts';

/** Reads the object under a key; where the key is missing, an empty one. */
export function subsection(section: JsonSection, key: string): JsonSection {
  const value = section.values[key] ?? {};
  if (!isJsonObject(value)) throw invalid(section, key, 'an object', value);
  return { path: `${section.path}: ${key}`, values: value };
}

/** Reads a whole number within bounds. Without a default, the key must be there. */
export function readInteger(
  section: JsonSection,
  key: string,
  defaultValue: number | undefined,
  minimum = 1,
  maximum = Number.MAX_SAFE_INTEGER,
): number {
  const value = section.values[key] ?? defaultValue;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum) {
    throw invalid(section, key, `a whole number of at least ${minimum}`, value);
  }
  if (value > maximum) throw invalid(section, key, `a whole number of at most ${maximum}`, value);
  return value;
}

export function readNumber(section: JsonSection, key: string, defaultValue: number): number {
  const value = section.values[key] ?? defaultValue;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw invalid(section, key, 'a number', value);
  return value;
}

export function readBoolean(section: JsonSection, key: string, defaultValue: boolean): boolean {
  const value = section.values[key] ?? defaultValue;
  if (typeof value !== 'boolean') throw invalid(section, key, 'true or false', value);
  return value;
}

/** Reads one of a fixed list of strings. */
export function readChoice<const T extends string>(
  section: JsonSection,
  key: string,
  choices: readonly T[],
  defaultValue: T,
): T {
  const value = section.values[key] ?? defaultValue;
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) throw invalid(section, key, `one of ${choices.join(', ')}`, value);
  return choice;
}

/** Reads a list of exactly three numbers, one for each colour channel. */
export function readChannelNumbers(
  section: JsonSection,
  key: string,
  defaultValue: readonly [number, number, number],
): readonly [number, number, number] {
  const value = section.values[key] ?? defaultValue;
  if (
    Array.isArray(value) &&
    value.length === 3 &&
    value.every((item) => typeof item === 'number' && Number.isFinite(item))
  ) {
    const [red, green, blue] = value as [number, number, number]; // Checked on the line above.
    return [red, green, blue];
  }
  throw invalid(section, key, 'three numbers', value);
}

/** The error of a key with a value of the wrong kind. */
export function invalid(section: JsonSection, key: string, expected: string, got: unknown): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${section.path}: expected ${key} to be ${expected}, got ${describe(got)}.`,
  );
}

/** @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`, naming both keys, when `value` is no multiple of `divisor`. */
export function requireDivisible(
  section: JsonSection,
  key: string,
  value: number,
  divisorKey: string,
  divisor: number,
): void {
  if (value % divisor !== 0) throw inconsistent(section, `${key} to be a multiple of ${divisorKey} ${divisor}`, value);
}

/** The error of values that do not fit together. */
export function inconsistent(section: JsonSection, expected: string, got: number | string): CheckpointError {
  return new CheckpointError('CHECKPOINT_CONFIG_INVALID', `${section.path}: expected ${expected}, got ${got}.`);
}
