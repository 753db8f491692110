import { HandlerError } from './errors.ts';

/**
 * The most values of a JSON document: as many as four inputs of the most values have. No request that can be answered has
 * more. The limit protects time and memory: a value of two bytes becomes an object of hundreds.
 */
const MAX_JSON_VALUES = 262_144;

/** In JSON, every value but the first follows a comma or the beginning of a list or an object. */
const jsonSeparators = [',', '[', '{'] as const;

/**
 * Refuses JSON of too many values before it is parsed. Separators within texts count too.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function requireFewValues(json: string | Uint8Array): void {
  const count = jsonSeparators.reduce((sum, separator) => sum + countCharacter(json, separator, MAX_JSON_VALUES), 0);
  if (count > MAX_JSON_VALUES)
    throw new HandlerError('INVALID_REQUEST', `Expected JSON of at most ${MAX_JSON_VALUES} values, got more.`);
}

/**
 * How often an ASCII character occurs in a text or in its bytes, up to any number above `maximum`. The search from one to
 * the next is native, so that a long text with few of them takes little time.
 */
export function countCharacter(content: string | Uint8Array, character: string, maximum: number): number {
  if (typeof content === 'string') return countFrom((index) => content.indexOf(character, index), maximum);
  // Buffer searches eight times faster than Uint8Array.
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const code = character.charCodeAt(0);
  return countFrom((index) => bytes.indexOf(code, index), maximum);
}

function countFrom(find: (index: number) => number, maximum: number): number {
  let count = 0;
  for (let index = find(0); index !== -1 && count <= maximum; index = find(index + 1)) count += 1;
  return count;
}
