import type { JsonObject } from '../../../checkpoint/files/json-file.ts';
import { invalidTokenizer } from './tokenizer-files.ts';

/** A text that becomes one token wherever it stands, in the form of tokenizer.json. */
export interface AddedToken {
  readonly content: string;
  /** Only where it is no part of a word. */
  readonly single_word: boolean;
  /** It takes the white space before it, or behind it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** It is looked for in the normalized text, and normalized itself. */
  readonly normalized: boolean;
  /** It is left out of decoded texts. */
  readonly special: boolean;
}

export interface NumberedToken extends AddedToken {
  readonly id: number;
}

/** Fine-tunes add some hundred words. Each costs time in every text, so a file may not bring any number of them. */
const MAX_COUNT = 16_384;
const MAX_CHARACTERS = 256;
const MAX_CHARACTERS_TOGETHER = 1 << 18;

/**
 * Reads a token of a file, as Python's `AddedToken(**value)` does.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function readAddedToken(value: JsonObject, path: string): AddedToken {
  const { content } = value;
  if (typeof content !== 'string') throw invalidTokenizer(path, 'a content in each added token, got none');
  const special = value['special'] === true;
  return {
    content,
    single_word: value['single_word'] === true,
    lstrip: value['lstrip'] === true,
    rstrip: value['rstrip'] === true,
    normalized: typeof value['normalized'] === 'boolean' ? value['normalized'] : !special,
    special,
  };
}

/** A special token of which only the text is known. */
export function specialToken(content: string): AddedToken {
  return { content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

/**
 * Numbers added tokens as the tokenizers library does (tokenizers/src/tokenizer/added_vocabulary.rs, `add_tokens`): one
 * that the vocabulary has keeps its id, and others get the ids behind it, one after the other. The ids that files give
 * them do not count there either. A token that comes again with other flags takes these.
 */
export function numberTokens(
  tokens: readonly AddedToken[],
  vocabulary: ReadonlyMap<string, number>,
): readonly NumberedToken[] {
  const numbered = new Map<string, NumberedToken>();
  let nextId = vocabulary.size;
  for (const token of tokens) {
    const { content } = token;
    if (content === '') continue;
    const id = numbered.get(content)?.id ?? vocabulary.get(content) ?? nextId;
    if (id >= nextId) nextId = id + 1;
    const special = token.special || numbered.get(content)?.special === true;
    numbered.set(content, { ...token, special, id });
  }
  return [...numbered.values()].sort((one, other) => one.id - other.id);
}

/** @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` when there are too many added tokens, or too long ones. */
export function requireFew(tokens: readonly AddedToken[], path: string): readonly AddedToken[] {
  const longest = tokens.reduce((length, { content }) => Math.max(length, content.length), 0);
  const together = tokens.reduce((length, { content }) => length + content.length, 0);
  if (tokens.length <= MAX_COUNT && longest <= MAX_CHARACTERS && together <= MAX_CHARACTERS_TOGETHER) return tokens;
  throw invalidTokenizer(
    path,
    `at most ${MAX_COUNT} added tokens of ${MAX_CHARACTERS} characters, ${MAX_CHARACTERS_TOGETHER} together, got ` +
      `${tokens.length} of at most ${longest}, ${together} together`,
  );
}
