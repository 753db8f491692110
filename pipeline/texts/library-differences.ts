import { isJsonObject, type JsonObject } from '../../checkpoint/files/json-file.ts';

/** Where @huggingface/tokenizers differs from the tokenizers library, and what makes up for it. */

/** Chinese characters that need two code units (tokenizers/src/normalizers/bert.rs, `is_chinese_char`). */
const farChinese =
  /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

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

function splitInto(pieces: string): JsonObject {
  return { type: 'Split', pattern: { Regex: pieces }, behavior: 'Removed', invert: true };
}

/** The library's `Split` keeps a text that it should remove, but not a regex. */
function completeSplit(part: JsonObject): JsonObject {
  const { pattern } = part;
  const text = isJsonObject(pattern) ? pattern['String'] : undefined;
  if (typeof text !== 'string' || part['behavior'] !== 'Removed') return part;
  return { ...part, pattern: { Regex: text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&') } };
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
  if (type !== 'ByteLevel' || use_regex === false || add_prefix_space === true) return part;
  const words = { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Isolated', invert: false };
  return { type: 'Sequence', pretokenizers: [words, { ...part, use_regex: false }] };
}

/**
 * Completes a normalizer: JavaScript makes another lower case of a sigma at the end of a word, and the library leaves
 * Chinese characters together that need two code units.
 * @param part the normalizer's part of tokenizer.json.
 */
export function completeNormalizer(
  normalize: ((text: string) => string) | null,
  part: JsonObject | null,
): (text: string) => string {
  if (normalize === null || part === null) return (text) => text;
  const parts = [part, ...(Array.isArray(part['normalizers']) ? part['normalizers'] : [])].filter(isJsonObject);
  const lowers = parts.some(
    ({ type, lowercase }) => type === 'Lowercase' || (type === 'BertNormalizer' && lowercase === true),
  );
  const dividesChinese = parts.some((each) => each['handle_chinese_chars'] === true);
  return (text) => {
    const lowered = lowers ? text.replaceAll('Σ', 'σ') : text;
    return normalize(dividesChinese ? lowered.replace(farChinese, ' $& ') : lowered);
  };
}
