import { AddedToken as LibraryToken, Tokenizer as TokenizerCore } from '@huggingface/tokenizers';
import { type NumberedToken, numberTokens } from './definitions/added-tokens.ts';
import { describeTokenizer } from './definitions/describe-tokenizer.ts';
import type { TokenizerDefinition } from './definitions/tokenizer-definition.ts';
import { invalidTokenizer, requireTokenIds } from './definitions/tokenizer-files.ts';
import { completeNormalizer, completePreTokenizer } from './library-differences.ts';
import { type Stretch, TokenMatcher } from './token-matcher.ts';

/** Converts text to token ids and back, as the checkpoint's own tokenizer does. */
export interface Tokenizer {
  /** Returns `[CLS]`, the pieces of `text` and `[SEP]`. */
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

/** Stands in a text for an id that has no token. */
export const UNKNOWN_ID = '\ufffd';
const MAX_FRAME_TOKENS = 16;
/** White space in Unicode's sense, which Python strips. JavaScript's own has a byte order mark more. */
const spaceAround = /^\p{White_Space}+|\p{White_Space}+$/gu;
/** The characters that stand for bytes in GPT-2's alphabet. */
const ofBytes = /^[!-~\u00a1-\u00ac\u00ae-\u0143]+$/;

/**
 * Opens the tokenizer of a checkpoint folder from tokenizer.json, or from the files that older checkpoints have.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` or `CHECKPOINT_FILE_UNREADABLE`.
 */
export function openTokenizer(folder: string): CheckpointTokenizer {
  const definition = describeTokenizer(folder);
  const core = createCore(definition);
  const { parts, path } = definition;
  requireTokenIds(path, core.model.tokens_to_ids.values());
  const addedTokens = numberTokens(definition.addedTokens, core.model.tokens_to_ids);
  const normalize = completeNormalizer(core.normalizer, parts.normalizer);
  const divide = divider(addedTokens, normalize);
  const shown = new Map(
    addedTokens.map((token) => [token.id, token.normalized ? normalize(token.content) : token.content]),
  );
  const special = new Set(addedTokens.filter((token) => token.special).map(({ id }) => id));
  const token = (id: number) => shown.get(id) ?? core.model.vocab[id];
  const toText = decoder(core, definition, [...shown.values()]);
  return {
    path,
    addedTokens,
    idCount: Math.max(core.model.vocab.length, ...addedTokens.slice(-1).map(({ id }) => id + 1)),
    has: (id) => core.model.vocab[id] !== undefined || shown.has(id),
    addedTokenIds: (text) => [...new Set(divide(text).filter((stretch) => typeof stretch === 'number'))],
    encode: encoder(core, path, addedTokens, divide),
    decode: (ids) => toText(ids.filter((id) => !special.has(id)).map((id) => token(id) ?? UNKNOWN_ID)),
  };
}

type Core = TokenizerCore & { readonly model: NonNullable<TokenizerCore['model']> };

function createCore({ path, parts }: TokenizerDefinition): Core {
  try {
    const core = new TokenizerCore(
      { ...parts, pre_tokenizer: completePreTokenizer(parts.pre_tokenizer), added_tokens: [] },
      {},
    );
    if (hasModel(core)) return core;
  } catch (cause) {
    const reason = cause instanceof Error ? ` (${cause.message.slice(0, 120)})` : '';
    throw invalidTokenizer(path, `a tokenizer of the tokenizers library, got one that does not load${reason}`, {
      cause,
    });
  }
  throw invalidTokenizer(path, 'a model, got none');
}

function hasModel(core: TokenizerCore): core is Core {
  return core.model !== null;
}

/**
 * Divides a text at added tokens, and normalizes what is between them. Our own matcher finds them, before the library sees
 * a text.
 */
function divider(addedTokens: readonly NumberedToken[], normalize: (text: string) => string) {
  const raw = new TokenMatcher(addedTokens.filter((token) => !token.normalized));
  const normalized = new TokenMatcher(
    addedTokens.filter((token) => token.normalized).map((token) => ({ ...token, content: normalize(token.content) })),
  );
  return (text: string): readonly Stretch[] =>
    raw
      .divide(text)
      .flatMap((stretch) => (typeof stretch === 'number' ? stretch : normalized.divide(normalize(stretch))));
}

function encoder(
  core: Core,
  path: string,
  addedTokens: readonly NumberedToken[],
  divide: (text: string) => readonly Stretch[],
): Tokenizer['encode'] {
  const { model, pre_tokenizer } = core;
  const addedIds = new Map(addedTokens.map(({ content, id }) => [content, id]));
  const idOf = (token: string) => addedIds.get(token) ?? model.tokens_to_ids.get(token) ?? model.unk_token_id;
  const pieces = (text: string, index: number) =>
    model(pre_tokenizer?.(text, { section_index: index }) ?? [text]).map(idOf);
  const ids = (text: string) =>
    divide(text).flatMap((stretch, index) => (typeof stretch === 'number' ? stretch : pieces(stretch, index)));
  const [before, behind] = frame(core, path).map((tokens) => tokens.map(idOf));
  return (text) => [...(before ?? []), ...ids(text), ...(behind ?? [])].filter((id) => id !== undefined);
}

/** The special tokens before and behind a text. */
function frame({ post_processor }: Core, path: string): readonly [readonly string[], readonly string[]] {
  const text = '\0'; // No token is so.
  const tokens = post_processor?.([text], null, true).tokens ?? [text];
  const index = tokens.indexOf(text);
  if (index === -1 || index !== tokens.lastIndexOf(text) || tokens.length > MAX_FRAME_TOKENS)
    throw invalidTokenizer(path, `a template with the text once and at most ${MAX_FRAME_TOKENS} tokens around it`);
  return [tokens.slice(0, index), tokens.slice(index + 1)];
}

/** Makes text of tokens. Those that were added have the text of their normalized form, as in the tokenizers library. */
function decoder(
  { decoder: decode }: Core,
  { endOfWord, cleansSpaces }: TokenizerDefinition,
  addedTexts: readonly string[],
): (tokens: readonly string[]) => string {
  // Tokens of bytes are joined before they become text. These are text already.
  const texts = [UNKNOWN_ID, ...addedTexts.filter((text) => !ofBytes.test(text))];
  if (decode !== null) decode.added_tokens = texts.map((content) => new LibraryToken({ content, id: 0 }));
  return (tokens) => {
    if (tokens.length === 0) return '';
    const joined = decode?.([...tokens]) ?? tokens.join(' ');
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
