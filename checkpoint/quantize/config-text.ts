import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readTextFile } from '../files/text-file.ts';

/**
 * Writes a configuration into `target` that says one thing otherwise than the one of `folder`, or one thing more.
 * @param file its name in both folders.
 * @param key of its outermost object.
 * @throws CheckpointError when the file cannot be read; errors of the file system.
 */
export async function writeConfig(
  folder: string,
  target: string,
  file: string,
  key: string,
  value: unknown,
): Promise<void> {
  const text = readTextFile(join(folder, file), 'CHECKPOINT_CONFIG_INVALID', 'JSON') ?? '{}';
  await writeFile(join(target, file), withMember(text, key, value));
}

/**
 * The text of an object in JSON with a member that has another value, or is new. Everything else stays as it is written:
 * 1.0 would become 1 if it were parsed and written, and transformers refuses a whole number where it wants a float.
 * @param text of an object that has members.
 */
export function withMember(text: string, key: string, value: unknown): string {
  const json = JSON.stringify(value);
  const after = behindKey(text, key);
  if (after !== undefined) {
    const old = /\s*(?:"(?:[^"\\]|\\.)*"|[^,{}[\]\s]+)/y;
    old.lastIndex = after;
    const oldText = old.exec(text)?.[0] ?? '';
    return `${text.slice(0, after)} ${json}${text.slice(after + oldText.length)}`;
  }
  const first = text.indexOf('{') + 1;
  return `${text.slice(0, first)}\n  ${JSON.stringify(key)}: ${json},${text.slice(first)}`;
}

/** The place behind the colon of a key of the outermost object. */
function behindKey(text: string, key: string): number | undefined {
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && token.endsWith(':') && JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) === key)
      return index + token.length;
  }
  return undefined;
}
