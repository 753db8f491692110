import { isJsonObject, type JsonObject } from '../../checkpoint/files/json-file.ts';

/** Where pre-tokenizers of @huggingface/tokenizers differ from the tokenizers library's, and what makes up for it. */

/** GPT-2's words (tokenizers/src/pre_tokenizers/byte_level.rs). */
const WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Letters, marks, digits and connectors, as the regex crate's `\w` has them. */
const WORD_CHARACTERS = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';
/** Rust's `is_ascii_punctuation`, and Unicode's (tokenizers/src/pre_tokenizers/punctuation.rs). */
const PUNCTUATION = '\\p{P}!-/:-@\\[-`{-~';

/**
 * Regexes of the pieces that parts with rules of their own leave. The JavaScript library's `Whitespace` and `Digits` know
 * ASCII alone, its `Punctuation` keeps signs together, and all of them take a byte order mark for white space.
 */
function piecesOf({ type, individual_digits, behavior }: JsonObject): string | undefined {
  if (type === 'Whitespace') return `[${WORD_CHARACTERS}]+|[^${WORD_CHARACTERS}\\p{White_Space}]+`;
  if (type === 'WhitespaceSplit') return '\\P{White_Space}+';
  if (type === 'BertPreTokenizer') return `[^${PUNCTUATION}\\p{White_Space}]+|[${PUNCTUATION}]`;
  if (type === 'Digits') return `\\P{N}+|\\p{N}${individual_digits === true ? '' : '+'}`;
  if (type !== 'Punctuation') return undefined;
  return `[^${PUNCTUATION}]+${behavior === 'Removed' ? '' : `|[${PUNCTUATION}]${behavior === 'Contiguous' ? '+' : ''}`}`;
}

/** The library's `Metaspace` leaves words together, and knows no `add_prefix_space`, an older name of `prepend_scheme`. */
function completeMetaspace(part: JsonObject): JsonObject {
  const { replacement, split, add_prefix_space, prepend_scheme } = part;
  const sign = typeof replacement === 'string' ? replacement : '▁';
  const scheme = add_prefix_space === false ? 'never' : (prepend_scheme ?? 'always');
  const whole = { type: 'Metaspace', replacement: sign, prepend_scheme: scheme };
  if (split === false) return whole;
  const one = escaped(sign);
  return { type: 'Sequence', pretokenizers: [whole, splitInto(`${one}[^${one}]*|[^${one}]+`)] };
}

function splitInto(pieces: string): JsonObject {
  return { type: 'Split', pattern: { Regex: pieces }, behavior: 'Removed', invert: true };
}

/** The library's `Split` keeps a text that it should remove, but not a regex. */
function completeSplit(part: JsonObject): JsonObject {
  const { pattern } = part;
  const text = isJsonObject(pattern) ? pattern['String'] : undefined;
  if (typeof text !== 'string' || part['behavior'] !== 'Removed') return part;
  return { ...part, pattern: { Regex: escaped(text) } };
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

/**
 * Divides words before bytes: the JavaScript library's `ByteLevel` takes a byte order mark for white space, and its `Split`
 * does not.
 * @param part the pre-tokenizer's part of tokenizer.json.
 */
export function completePreTokenizer(part: JsonObject | null): JsonObject | null {
  if (part === null) return null;
  const { type, pretokenizers, use_regex, add_prefix_space } = part;
  if (type === 'Sequence' && Array.isArray(pretokenizers)) {
    return { ...part, pretokenizers: pretokenizers.filter(isJsonObject).map(completePreTokenizer) };
  }
  const pieces = piecesOf(part);
  if (pieces !== undefined) return splitInto(pieces);
  if (type === 'Split') return completeSplit(part);
  if (type === 'Metaspace') return completeMetaspace(part);
  if (type !== 'ByteLevel' || use_regex === false) return part;
  const words = { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Isolated', invert: false };
  // A Metaspace whose sign is a space puts one before a text that has none there.
  const space = { type: 'Metaspace', replacement: ' ', prepend_scheme: 'always' };
  const bytes = { ...part, use_regex: false, add_prefix_space: false };
  return { type: 'Sequence', pretokenizers: [...(add_prefix_space === true ? [space] : []), words, bytes] };
}
