import { CheckpointError } from '../../checkpoint/errors.ts';
import { createDecoder, type DecodeTokens } from './decoder.ts';
import { type NumberedToken, numberTokens } from './definitions/added-tokens.ts';
import { describeTokenizer } from './definitions/describe-tokenizer.ts';
import type { TokenizerDefinition } from './definitions/tokenizer-definition.ts';
import { invalidTokenizer } from './definitions/tokenizer-files.ts';
import { completePreTokenizer } from './library-differences.ts';
import { libraryParts } from './library-parts.ts';
import { createModel } from './models/create-model.ts';
import type { PieceModel } from './models/piece-model.ts';
import { createNormalizer, type Normalize } from './normalizer.ts';
import { type Stretch, TokenMatcher } from './token-matcher.ts';

/** Converts text to token ids and back, as the checkpoint's own tokenizer does. */
export interface Tokenizer {
  /** The ids of a text, with the special tokens that the tokenizer puts around it. */
  encode(text: string): readonly number[];
  /** Leaves out special tokens. An id without a token becomes U+FFFD, the sign for what cannot be shown. */
  decode(tokenIds: readonly number[]): string;
}

/** The tokenizer of a checkpoint, with the file that its vocabulary comes from. */
export interface CheckpointTokenizer extends Tokenizer {
  readonly path: string;
  readonly addedTokens: readonly NumberedToken[];
  /** Above the largest id of a token. */
  readonly idCount: number;
  /** Whether an id has a token. */
  has(id: number): boolean;
  /**
   * The ids of the added tokens that a text contains, such as that of a literal `<image>`: `encode` makes tokens of them,
   * and not of the letters. Each once, in the text's order.
   */
  addedTokenIds(text: string): readonly number[];
}

const unchanged = (text: string) => text;

/** Stands in a text for an id that has no token. */
export const UNKNOWN_ID = '\ufffd';
const MAX_FRAME_TOKENS = 16;
/** White space in Unicode's sense, which Python strips. JavaScript's own has a byte order mark more. */
const spaceAround = /^\p{White_Space}+|\p{White_Space}+$/gu;

/**
 * Opens the tokenizer of a checkpoint folder from tokenizer.json, or from the files that older checkpoints have.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` or `CHECKPOINT_FILE_UNREADABLE`.
 */
export function openTokenizer(folder: string): CheckpointTokenizer {
  const definition = describeTokenizer(folder);
  const { path } = definition;
  const parts = createParts(definition);
  const { model, normalize } = parts;
  const addedTokens = numberTokens(definition.addedTokens, model.tokenIds);
  const divideCleaned = divider(addedTokens, normalize);
  const { clean = unchanged } = definition;
  const divide = (text: string) => divideCleaned(clean(text));
  const shown = new Map(
    addedTokens.map((token) => [token.id, token.normalized ? normalize(token.content) : token.content]),
  );
  const special = new Set(addedTokens.filter((token) => token.special).map(({ id }) => id));
  const token = (id: number) => shown.get(id) ?? model.tokens[id];
  const toText = decoder(parts, definition);
  return {
    path,
    addedTokens,
    idCount: Math.max(model.tokens.length, ...addedTokens.slice(-1).map(({ id }) => id + 1)),
    has: (id) => token(id) !== undefined,
    addedTokenIds: (text) => [...new Set(divide(text).filter((stretch) => typeof stretch === 'number'))],
    encode: encoder(parts, path, addedTokens, divide),
    decode: (ids) => toText(ids.filter((id) => !special.has(id)).map((id) => token(id) ?? UNKNOWN_ID)),
  };
}

interface Parts {
  readonly model: PieceModel;
  readonly normalize: Normalize;
  /** @param index of the stretch of text between added tokens. */
  readonly divide: (text: string, index: number) => readonly string[];
  /** Puts special tokens around those of a text. */
  readonly surround: (tokens: string[]) => readonly string[];
  readonly decode: DecodeTokens | undefined;
}

function createParts(definition: TokenizerDefinition): Parts {
  const { path } = definition;
  try {
    return {
      ...createLibraryParts(definition),
      model: createModel(path, definition.parts.model),
      normalize: createNormalizer(path, definition.parts.normalizer),
      decode: definition.parts.decoder === null ? undefined : createDecoder(definition.parts.decoder),
    };
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    const reason = cause instanceof Error ? ` (${cause.message.slice(0, 120)})` : '';
    throw invalidTokenizer(path, `a tokenizer of the tokenizers library, got one that does not load${reason}`, {
      cause,
    });
  }
}

function createLibraryParts({ parts }: TokenizerDefinition): Pick<Parts, 'divide' | 'surround'> {
  const { pre_tokenizer, post_processor } = libraryParts({
    pre_tokenizer: completePreTokenizer(parts.pre_tokenizer),
    post_processor: parts.post_processor,
  });
  return {
    divide: (text, index) => pre_tokenizer?.(text, { section_index: index }) ?? [text],
    surround: (tokens) => post_processor?.(tokens, null, true).tokens ?? tokens,
  };
}

/**
 * Divides a text at added tokens, and normalizes what is between them. Our own matcher finds them, before the other parts
 * see a text.
 */
function divider(addedTokens: readonly NumberedToken[], normalize: Normalize): (text: string) => readonly Stretch[] {
  const raw = new TokenMatcher(addedTokens.filter((token) => !token.normalized));
  const normalized = new TokenMatcher(
    addedTokens.filter((token) => token.normalized).map((token) => ({ ...token, content: normalize(token.content) })),
  );
  return (text) =>
    raw
      .divide(text)
      .flatMap((stretch) => (typeof stretch === 'number' ? stretch : normalized.divide(normalize(stretch))));
}

function encoder(
  parts: Parts,
  path: string,
  addedTokens: readonly NumberedToken[],
  divide: (text: string) => readonly Stretch[],
): Tokenizer['encode'] {
  const { model } = parts;
  const addedIds = new Map(addedTokens.map(({ content, id }) => [content, id]));
  const idOf = (token: string) => addedIds.get(token) ?? model.tokenIds.get(token) ?? model.unknownId;
  const pieces = (text: string, index: number) => parts.divide(text, index).flatMap(model.encode);
  const ids = (text: string) =>
    divide(text).flatMap((stretch, index) => (typeof stretch === 'number' ? stretch : pieces(stretch, index)));
  const [before, behind] = frame(parts, path).map((tokens) => tokens.map(idOf).filter((id) => id !== undefined));
  return (text) => [...(before ?? []), ...ids(text), ...(behind ?? [])];
}

/** The special tokens before and behind a text. */
function frame({ surround }: Parts, path: string): readonly [readonly string[], readonly string[]] {
  const text = '\0'; // No token is so.
  const tokens = surround([text]);
  const index = tokens.indexOf(text);
  if (index === -1 || index !== tokens.lastIndexOf(text) || tokens.length > MAX_FRAME_TOKENS)
    throw invalidTokenizer(path, `a template with the text once and at most ${MAX_FRAME_TOKENS} tokens around it`);
  return [tokens.slice(0, index), tokens.slice(index + 1)];
}

/** Makes text of tokens. Those that were added have the text of their normalized form, as in the tokenizers library. */
function decoder(
  { decode }: Parts,
  { endOfWord, cleansSpaces }: TokenizerDefinition,
): (tokens: readonly string[]) => string {
  return (tokens) => {
    if (tokens.length === 0) return '';
    const joined = decode?.(tokens).join('') ?? tokens.join(' ');
    const text = endOfWord === undefined ? joined : joined.replaceAll(endOfWord, ' ').replace(spaceAround, '');
    return cleansSpaces ? cleanSpaces(text) : text;
  };
}

/** Removes spaces before punctuation, as transformers' `clean_up_tokenization` does. */
function cleanSpaces(text: string): string {
  return [' .', ' ?', ' !', ' ,', " ' ", " n't", " 'm", " 's", " 've", " 're"].reduce(
    (cleaned, part) => cleaned.replaceAll(part, part.trim()),
    text,
  );
}
