import { CheckpointError, type CheckpointErrorCode } from '../errors.ts';
import { parseJson } from './json-text.ts';
import { readTextFile } from './text-file.ts';

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
  const text = readTextFile(path, code, 'JSON');
  if (text === undefined) return undefined;
  const values = parseJson(path, text, code);
  if (!isJsonObject(values))
    throw new CheckpointError(code, `${path}: expected a JSON object, got ${describe(values)}.`);
  if (!isServerError(values)) return { path, values };
  throw new CheckpointError(
    code,
    `${path}: expected a file of a checkpoint, got a server's error in JSON. Download it again.`,
  );
}

/** Keys of what servers answer in place of a file, in lower case and without `_`: RFC 9457, S3, gateways, the Hub. */
const errorKeys: ReadonlySet<string> = new Set([
  ...['error', 'errors', 'errortype', 'errorcode', 'message', 'msg', 'title', 'detail', 'details', 'description'],
  ...['code', 'type', 'status', 'statuscode', 'success', 'ok', 'instance', 'url', 'path', 'resource'],
  ...['requestid', 'hostid', 'traceid', 'timestamp', 'documentationurl'],
]);

/** Whether an object is what servers answer in place of a file: it has an error or a message, and nothing else. */
function isServerError(values: JsonObject): boolean {
  const keys = Object.keys(values).map((key) => key.toLowerCase().replaceAll('_', ''));
  const saysWhat = ['error', 'errors', 'message', 'msg', 'title', 'detail'].some((key) => keys.includes(key));
  return saysWhat && keys.every((key) => errorKeys.has(key));
}

/** A short description of a JSON value for messages: its type, and the value itself where that is short. */
export function describe(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'number') return String(value); // JSON has no Infinity, and Python's has.
  if (value === null || typeof value !== 'object') return JSON.stringify(value)?.slice(0, 80) ?? 'nothing';
  return 'an object';
}
