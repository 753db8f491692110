import { isJsonObject, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import { type AddedToken, readAddedToken, specialToken } from './added-tokens.ts';
import { invalidTokenizer, readJson, type TokenizerFiles } from './tokenizer-files.ts';

/**
 * Reads which tokens a tokenizer has besides its vocabulary, as transformers does: `_from_pretrained` in
 * tokenization_utils_base.py and `TokenizersBackend.__init__` in tokenization_utils_tokenizers.py.
 */

/** The special tokens that every tokenizer may have, in transformers' order (`SPECIAL_TOKENS_ATTRIBUTES`). */
const attributes = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

/** No vocabulary has fewer. A server's error in its place is a line or two. */
const FEWEST_TOKENS = 10;

type Attribute = (typeof attributes)[number];

/** A special token: only its text, or with flags of its own. */
type NamedToken = string | AddedToken;

/** The texts of the special tokens that a class of tokenizers has where no file names others. */
export type UsualTokens = Readonly<Partial<Record<Attribute, string>>>;

/** Tokens that a tokenizer has besides those of tokenizer_config.json and the files beside it. */
export interface MoreTokens {
  /** Texts of tokens that were added before. */
  readonly known?: readonly string[];
  /** Added where no file names extra tokens. */
  readonly usualExtra?: readonly AddedToken[];
}

export interface TokenList {
  /** All of them, in the order in which they get their ids. */
  readonly added: readonly AddedToken[];
  /**
   * The text of a special token that the model needs.
   * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` when no file has it. transformers would give it the next id,
   *   which is not the one that the model learned.
   */
  readonly required: (attribute: Attribute, source: TokenSource) => string;
  /** The text of a special token, where it has one. */
  readonly textOf: (attribute: Attribute) => string | undefined;
}

/** The tokens of a vocabulary, and the file that they come from. */
export interface TokenSource {
  readonly path: string;
  readonly vocabulary: JsonObject;
}

/** @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`. */
export function readTokenList(
  files: TokenizerFiles,
  usual: UsualTokens,
  { known = [], usualExtra = [] }: MoreTokens = {},
): TokenList {
  const { listed, values } = readListedTokens(files);
  const named = namedTokens(values, usual, listed, files.settings.path);
  const extra = isEmpty(extraTokens(values)) ? usualExtra : readTokens(extraTokens(values), files.settings.path);
  const texts = new Set([...known, ...listed.map(({ content }) => content)]);
  const namedTexts = new Set([...named.values()].map(textOf));
  // Equal ones are added once. One that comes again with other flags changes the first.
  const others = new Map([...named.values(), ...extra].map((token) => [JSON.stringify(token), token]));
  const unlisted = [...others.values()].filter((token) => !texts.has(textOf(token))).map(asAdded);
  return {
    added: [
      ...listed,
      ...unlisted.map((token) => ({ ...token, special: token.special || namedTexts.has(token.content) })),
    ],
    textOf: (attribute) => (named.has(attribute) ? textOf(named.get(attribute) ?? '') : undefined),
    required: (attribute, { path, vocabulary }) => {
      const text = textOf(named.get(attribute) ?? '');
      if (Object.hasOwn(vocabulary, text) || texts.has(text)) return text;
      const count = Object.keys(vocabulary).length;
      const advice = count < FEWEST_TOKENS ? ', and that is no vocabulary. Download it again' : '';
      throw invalidTokenizer(path, `the token ${text || attribute}, got none among ${count}${advice}`);
    },
  };
}

interface ListedTokens {
  /** Added tokens that a file lists, by their ids there. */
  readonly listed: readonly AddedToken[];
  /** tokenizer_config.json; with special_tokens_map.json over it, where that counts. */
  readonly values: JsonObject;
}

/** The older files count only where tokenizer_config.json lists no added tokens. */
function readListedTokens({ folder, definition, settings }: TokenizerFiles): ListedTokens {
  const { path, values } = settings;
  const decoder = values['added_tokens_decoder'];
  if (decoder !== undefined) return { listed: readDecoder(decoder, path), values };
  const specialTokensMap = readJson(folder, 'special_tokens_map.json');
  const merged = mergeSpecialTokens(values, specialTokensMap?.values ?? {});
  const older = readJson(folder, 'added_tokens.json');
  const listed = new Map<number, AddedToken>();
  const special = new Set([...attributes.map((key) => merged[key]), ...asList(extraTokens(merged))]);
  for (const [content, id] of Object.entries(older?.values ?? {})) {
    const isSpecial = special.has(content);
    listed.set(readId(id, older?.path ?? ''), { ...specialToken(content), normalized: !isSpecial, special: isSpecial });
  }
  for (const token of asList(definition?.values['added_tokens'])) {
    if (definition === undefined || !isJsonObject(token)) continue;
    listed.set(readId(token['id'], definition.path), readAddedToken(token, definition.path));
  }
  return { listed: byId(listed), values: merged };
}

/** `added_tokens_decoder`: tokens by their ids. */
function readDecoder(decoder: unknown, path: string): readonly AddedToken[] {
  if (!isJsonObject(decoder)) throw invalidTokenizer(path, 'added_tokens_decoder to be an object');
  const listed = new Map<number, AddedToken>();
  for (const [id, token] of Object.entries(decoder)) {
    if (!isJsonObject(token)) throw invalidTokenizer(path, 'added_tokens_decoder to hold objects');
    listed.set(readId(Number(id), path), readAddedToken(token, path));
  }
  return byId(listed);
}

function byId(tokens: ReadonlyMap<number, AddedToken>): readonly AddedToken[] {
  return [...tokens].sort(([one], [other]) => one - other).map(([, token]) => token);
}

function readId(value: unknown, path: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw invalidTokenizer(path, 'whole numbers as ids of added tokens, got another one');
}

/** Objects of special_tokens_map.json are special, whatever they say. Its extra tokens join the others. */
function mergeSpecialTokens(settings: JsonObject, specialTokensMap: JsonObject): JsonObject {
  const merged: Record<string, unknown> = { ...settings };
  const extra = extraTokens(settings);
  if (Array.isArray(extra)) merged['extra_special_tokens'] = extra;
  for (const [key, value] of Object.entries(specialTokensMap)) {
    if (key === 'extra_special_tokens' && Array.isArray(value)) merged[key] = [...asList(merged[key]), ...value];
    else merged[key] = isJsonObject(value) && key !== 'extra_special_tokens' ? { ...value, special: true } : value;
  }
  return merged;
}

/** Named tokens in transformers' order: the usual ones, then those of the checkpoint's own names. */
function namedTokens(
  values: JsonObject,
  usual: UsualTokens,
  listed: readonly AddedToken[],
  path: string,
): ReadonlyMap<string, NamedToken> {
  const named = new Map<string, NamedToken>();
  for (const key of attributes) {
    const value = values[key];
    const token = value === undefined ? usual[key] : readToken(value, path);
    if (token === undefined) continue;
    named.set(key, listed.find(({ content }) => value !== undefined && content === textOf(token)) ?? token);
  }
  const extra = extraTokens(values);
  const own = { ...values, ...(isJsonObject(extra) ? extra : {}) };
  for (const [key, value] of Object.entries(own)) {
    if (named.has(key) || !(isOwnName(key) || (isJsonObject(extra) && Object.hasOwn(extra, key)))) continue;
    const token = typeof value === 'string' || isJsonObject(value) ? readToken(value, path) : undefined;
    if (token !== undefined) named.set(key, token);
  }
  return named;
}

function isOwnName(key: string): boolean {
  return key.endsWith('_token') && !attributes.some((attribute) => attribute === key);
}

/** Version 5 of transformers has another name for the list. The older name counts where the newer one is empty. */
function extraTokens(values: JsonObject): unknown {
  const extra = values['extra_special_tokens'];
  return isEmpty(extra) ? values['additional_special_tokens'] : extra;
}

function isEmpty(extra: unknown): boolean {
  return extra === undefined || extra === null || (typeof extra === 'object' && Object.keys(extra).length === 0);
}

function readTokens(value: unknown, path: string): readonly NamedToken[] {
  return asList(value)
    .map((token) => readToken(token, path))
    .filter((token) => token !== undefined);
}

function readToken(value: unknown, path: string): NamedToken | undefined {
  if (value === null) return undefined;
  if (typeof value === 'string') return value;
  if (isJsonObject(value)) return readAddedToken(value, path);
  throw invalidTokenizer(path, 'special tokens to be texts or objects');
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(token: NamedToken): string {
  return typeof token === 'string' ? token : token.content;
}

function asAdded(token: NamedToken): AddedToken {
  return typeof token === 'string' ? specialToken(token) : token;
}
