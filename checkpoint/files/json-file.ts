import { readFileSync } from 'node:fs';
import { CheckpointError, type CheckpointErrorCode } from '../errors.ts';
import { readIfThere } from './file-errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** A JSON object with the path that it was read from, so that messages can name both. */
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
  if (isJsonObject(values)) return { path, values };
  throw new CheckpointError(code, `${path}: expected a JSON object, got ${describe(values)}.`);
}

/**
 * Reads a text file.
 * @returns `undefined` when there is no such file.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`.
 */
export function readTextFile(path: string): string | undefined {
  return readIfThere(path, () => readFileSync(path, 'utf8'));
}

/** A short description of a JSON value for messages: its type, and the value itself where that is short. */
export function describe(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value)?.slice(0, 80) ?? 'nothing';
  return 'an object';
}
