import { describe, isJsonObject, type JsonObject, type JsonSection } from '../../../checkpoint/files/json-file.ts';
import { readAddedToken, requireFew } from './added-tokens.ts';
import { cleansSpacesOfBpe } from './clip-tokenizer.ts';
import { isLinearRegex } from './linear-regex.ts';
import { readTokenList } from './special-tokens.ts';
import type { TokenizerDefinition, TokenizerParts } from './tokenizer-definition.ts';
import { invalidTokenizer, modelOf, requireVocabulary, type TokenizerFiles } from './tokenizer-files.ts';

/** How many parts a sequence may have, all levels together: known tokenizers have fewer than ten. */
const MAX_PARTS = 64;
/** How many times its length a normalized text may have. Known tokenizers replace a character by one other. */
const MAX_GROWTH = 2;
/** WordPiece compares all pieces of a word. */
const MAX_WORD_CHARACTERS = 100;
/** Unigram looks at every piece that begins at every character. Known pieces have at most 48 characters. */
const MAX_PIECE_CHARACTERS = 64;

/**
 * Describes a tokenizer as its tokenizer.json is written: a `PreTrainedTokenizerFast`, or one of a class that is not known
 * here (`TokenizersBackend` in transformers). The file is a stranger's, so only parts are taken that take no more time and
 * memory than a text is long.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function describeWrittenTokenizer(files: TokenizerFiles, definition: JsonSection): TokenizerDefinition {
  const { path } = definition;
  const parts = readParts(definition);
  const written = asList(definition.values['added_tokens']).map((token) => {
    if (isJsonObject(token)) return readAddedToken(token, path);
    throw invalidTokenizer(path, 'added_tokens to be objects');
  });
  const more = readTokenList(
    files,
    {},
    written.map(({ content }) => content),
  );
  requireModel(path, parts.model);
  const isBpe = parts.model['type'] === 'BPE';
  const { values } = files.settings;
  return {
    path,
    parts,
    addedTokens: requireFew([...written, ...more.added], path),
    cleansSpaces: isBpe ? cleansSpacesOfBpe(values) : values['clean_up_tokenization_spaces'] === true,
  };
}

function readParts(definition: JsonSection): TokenizerParts {
  const { path } = definition;
  const part = (key: string) => {
    const value = definition.values[key] ?? null;
    if (value !== null && !isJsonObject(value)) throw invalidTokenizer(path, `${key} to be an object`);
    return value;
  };
  const parts = {
    normalizer: part('normalizer'),
    pre_tokenizer: part('pre_tokenizer'),
    post_processor: part('post_processor'),
    decoder: part('decoder'),
    model: modelOf(definition),
  };
  requireHarmless(path, [parts.normalizer, parts.pre_tokenizer, parts.post_processor, parts.decoder]);
  return parts;
}

/** @throws CheckpointError when a part takes more time or memory than a text is long. */
function requireHarmless(path: string, roots: readonly (JsonObject | null)[]): void {
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

function requireModel(path: string, model: JsonObject): void {
  const { type, vocab } = model;
  if (type === 'Unigram') {
    requirePieces(path, asList(vocab));
    return;
  }
  if (type !== 'WordPiece' && type !== 'BPE')
    throw invalidTokenizer(path, `a model of WordPiece, BPE or Unigram, got ${describe(type)}`);
  const longest = model['max_input_chars_per_word'];
  if (typeof longest === 'number' && longest > MAX_WORD_CHARACTERS)
    throw invalidTokenizer(path, `max_input_chars_per_word of at most ${MAX_WORD_CHARACTERS}, got ${longest}`);
  requireVocabulary(path, vocab);
}

/** Pieces with their scores. Their ids are their positions. */
function requirePieces(path: string, pieces: readonly unknown[]): void {
  for (const entry of pieces) {
    const [piece, score]: readonly unknown[] = asList(entry);
    if (typeof piece !== 'string' || typeof score !== 'number' || piece.length > MAX_PIECE_CHARACTERS)
      throw invalidTokenizer(path, `pieces of at most ${MAX_PIECE_CHARACTERS} characters with their scores`);
  }
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
