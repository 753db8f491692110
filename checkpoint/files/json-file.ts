import { readFileSync } from 'node:fs';
import { CheckpointError, type CheckpointErrorCode } from '../errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** A JSON object with the path it was read from, so that messages can name both. */
export interface JsonSection {
  readonly path: string;
  readonly values: JsonObject;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Reads a JSON file whose top level is an object.
 * @returns `undefined` when there is no such file.
 * @throws CheckpointError when it cannot be read (`CHECKPOINT_FILE_UNREADABLE`) or is not a JSON object (`code`).
 */
export function readJsonFile(
  path: string,
  code: CheckpointErrorCode = 'CHECKPOINT_CONFIG_INVALID',
): JsonSection | undefined {
  const text = readTextFile(path);
  if (text === undefined) return undefined;
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(code, `${path}: expected JSON, got text that does not parse.`, { cause });
  }
  if (!isJsonObject(values))
    throw new CheckpointError(code, `${path}: expected a JSON object, got ${describe(values)}.`);
  return { path, values };
}

/** The text of a file, or `undefined` when there is no such file. */
export function readTextFile(path: string): string | undefined {
  return readingIfThere(path, () => readFileSync(path, 'utf8'));
}

/**
 * Does what reads a file.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE` in place of what the file system throws.
 */
export function reading<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const message = `${path}: expected a readable file (${errorCode(cause)}).`;
    throw new CheckpointError('CHECKPOINT_FILE_UNREADABLE', message, { cause });
  }
}

/** The same; `undefined` when there is no such file. */
export function readingIfThere<T>(path: string, action: () => T): T | undefined {
  return reading(path, () => {
    try {
      return action();
    } catch (cause) {
      if (isMissing(cause)) return undefined;
      throw cause;
    }
  });
}

export function isMissing(cause: unknown): boolean {
  const code = errorCode(cause);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

export function errorCode(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
}

/** A short description of a JSON value for messages: its type, and the value itself where that is short. */
export function describe(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value)?.slice(0, 80) ?? 'nothing';
  return 'an object';
}

/** A sub-object of a section; absent means empty. */
export function subsection(section: JsonSection, key: string): JsonSection {
  const value = section.values[key] ?? {};
  if (!isJsonObject(value)) throw invalid(section, key, 'an object', value);
  return { path: `${section.path}: ${key}`, values: value };
}

/** Without a default, the key must be there. */
export function readInteger(section: JsonSection, key: string, defaultValue: number | undefined, minimum = 1): number {
  const value = section.values[key] ?? defaultValue;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum) {
    throw invalid(section, key, `a whole number of at least ${minimum}`, value);
  }
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

/** Reads a list of exactly three numbers, one per colour channel. */
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

/** The error of values that do not go together. */
export function inconsistent(section: JsonSection, expected: string, got: number | string): CheckpointError {
  return new CheckpointError('CHECKPOINT_CONFIG_INVALID', `${section.path}: expected ${expected}, got ${got}.`);
}
