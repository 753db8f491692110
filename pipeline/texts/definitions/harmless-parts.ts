import { describe, isJsonObject, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import { isLinearRegex } from './linear-regex.ts';
import { invalidTokenizer } from './tokenizer-files.ts';

/** How many parts a sequence may have, all levels together: known tokenizers have fewer than ten. */
const MAX_PARTS = 64;
/** How many times its length a normalized text may have. Known tokenizers replace a character by one other. */
const MAX_GROWTH = 2;
/** @throws CheckpointError when a part takes more time or memory than a text is long. */
export function requireHarmless(path: string, roots: readonly (JsonObject | null)[]): void {
  let growth = 1;
  const parts = roots.filter((part) => part !== null);
  for (let index = 0; index < parts.length; index += 1) {
    const part = parts[index] ?? {};
    parts.push(...innerParts(part));
    if (parts.length > MAX_PARTS) throw invalidTokenizer(path, `at most ${MAX_PARTS} parts, got more`);
    requireLinearPattern(path, part['pattern']);
    requireKnownSplit(path, part);
    growth *= growthOf(part);
    if (growth > MAX_GROWTH)
      throw invalidTokenizer(path, `parts that make a text at most ${MAX_GROWTH} times as long, got longer ones`);
    if (part['type'] === 'FixedLength' && !(Number(part['length']) >= 1))
      throw invalidTokenizer(path, 'FixedLength to have a length of at least 1');
    if (asList(part['single']).length > MAX_PARTS)
      throw invalidTokenizer(path, `a template of at most ${MAX_PARTS} parts`);
  }
}

function innerParts(part: JsonObject): readonly JsonObject[] {
  const lists = [part['normalizers'], part['pretokenizers'], part['processors'], part['decoders']];
  const inner = lists.flatMap(asList).slice(0, MAX_PARTS + 1);
  return inner.filter((value) => isJsonObject(value));
}

function requireLinearPattern(path: string, pattern: unknown): void {
  if (!isJsonObject(pattern)) return;
  const { Regex: regex, String: text } = pattern;
  if (typeof text === 'string' && text !== '') return;
  if (typeof regex === 'string' && isLinearRegex(regex)) return;
  throw invalidTokenizer(
    path,
    `regexes of known tokenizers, or such whose last part alone repeats, as they could run for ever; got ${describe(regex ?? text)}`,
  );
}

/** The library takes all ways to divide for `Isolated`. */
function requireKnownSplit(path: string, { type, behavior }: JsonObject): void {
  const known = type === 'Punctuation' ? ['Isolated', 'Removed', 'Contiguous'] : ['Isolated', 'Removed'];
  if ((type !== 'Split' && type !== 'Punctuation') || known.includes(String(behavior ?? 'Isolated'))) return;
  throw invalidTokenizer(path, `${type} to have a behavior of ${known.join(', ')}, got ${describe(behavior)}`);
}

/** How many times as long a part makes a text, at most. */
function growthOf(part: JsonObject): number {
  const texts = [part['content'], part['prepend'], part['replacement'], part['str_rep']];
  const longest = Math.max(1, ...texts.map((text) => (typeof text === 'string' ? text.length : 0)));
  const replaced = isJsonObject(part['pattern']) ? part['pattern']['String'] : undefined;
  return typeof replaced === 'string' && replaced !== '' ? Math.max(1, longest / replaced.length) : longest;
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
