import { describe, isJsonObject, type JsonObject, type JsonSection } from '../../../checkpoint/files/json-file.ts';
import { readAddedToken, requireFew } from './added-tokens.ts';
import { cleansSpacesOfBpe } from './clip-tokenizer.ts';
import { requireHarmless } from './harmless-parts.ts';
import { readTokenList } from './special-tokens.ts';
import type { TokenizerDefinition, TokenizerParts } from './tokenizer-definition.ts';
import { invalidTokenizer, modelOf, requireVocabulary, type TokenizerFiles } from './tokenizer-files.ts';

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
  const more = readTokenList(files, {}, { known: written.map(({ content }) => content) });
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

/**
 * Pieces with their scores. Their ids are their positions.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function requirePieces(path: string, pieces: readonly unknown[]): void {
  for (const entry of pieces) {
    const [piece, score]: readonly unknown[] = asList(entry);
    if (typeof piece !== 'string' || typeof score !== 'number' || piece.length > MAX_PIECE_CHARACTERS)
      throw invalidTokenizer(path, `pieces of at most ${MAX_PIECE_CHARACTERS} characters with their scores`);
  }
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
