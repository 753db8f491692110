import { join } from 'node:path';
import { describe, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import { requireFew } from './added-tokens.ts';
import { readTokenList, type TokenSource } from './special-tokens.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import {
  invalidTokenizer,
  modelOf,
  readJson,
  readText,
  requireVocabulary,
  type TokenizerFiles,
} from './tokenizer-files.ts';

const START = '<|startoftext|>';
const END = '<|endoftext|>';
const PIECES = `<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+`;
/** Ends the pieces of a word. */
const END_OF_WORD = '</w>';

const CUT_OFF = 'it may have been cut off. Download it again';

const usualTokens = { unk_token: END, bos_token: START, eos_token: END, pad_token: END };

const normalizer = {
  type: 'Sequence',
  normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }],
};

const preTokenizer = {
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: PIECES }, behavior: 'Removed', invert: true },
    { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  ],
};

/**
 * Describes a `CLIPTokenizer` of transformers (models/clip/tokenization_clip.py). Of tokenizer.json only vocabulary,
 * merges and added tokens count, as there.
 * @returns `undefined` when the folder has neither tokenizer.json nor vocab.json with merges.txt.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function describeClipTokenizer(files: TokenizerFiles): TokenizerDefinition | undefined {
  const source = readVocabulary(files);
  if (source === undefined) return undefined;
  const { path, vocabulary, merges } = source;
  const tokens = readTokenList(files, usualTokens);
  const [start, end] = [tokens.required('bos_token', source), tokens.required('eos_token', source)];
  return {
    path,
    parts: {
      normalizer,
      pre_tokenizer: preTokenizer,
      post_processor: { type: 'RobertaProcessing', sep: [end, 0], cls: [start, 0] },
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        unk_token: tokens.required('unk_token', source),
        continuing_subword_prefix: '',
        end_of_word_suffix: END_OF_WORD,
        vocab: vocabulary,
        merges,
      },
    },
    addedTokens: requireFew(tokens.added, files.settings.path),
    endOfWord: END_OF_WORD,
    cleansSpaces: cleansSpacesOfBpe(files.settings.values),
  };
}

/** transformers removes no spaces of BPE, unless told twice: it would destroy texts. */
export function cleansSpacesOfBpe(settings: JsonObject): boolean {
  return (
    settings['clean_up_tokenization_spaces'] === true &&
    settings['clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output'] === true
  );
}

interface MergesSource extends TokenSource {
  readonly merges: unknown;
}

function readVocabulary({ folder, definition }: TokenizerFiles): MergesSource | undefined {
  if (definition !== undefined) {
    const { path } = definition;
    const { vocab, merges = [] } = modelOf(definition);
    return { path, vocabulary: requireVocabulary(path, vocab), merges };
  }
  const vocabulary = readJson(folder, 'vocab.json');
  const merges = readText(folder, 'merges.txt');
  if (vocabulary === undefined || merges === undefined) return undefined;
  const { path, values } = vocabulary;
  const mergesPath = join(folder, 'merges.txt');
  const pairs = mergesOf(mergesPath, merges);
  requireWhole(mergesPath, pairs, requireVocabulary(path, values));
  return { path, vocabulary: values, merges: pairs };
}

/**
 * Merges that were cut off would divide words otherwise, without a word. The tokenizers library refuses merges that make
 * no token; the end of half a line is one. Nearly all tokens of several letters are made by merges.
 */
function requireWhole(path: string, merges: readonly (readonly string[])[], vocabulary: JsonObject): void {
  const made = new Set(merges.map((pair) => pair.join('')));
  const foreign = [...made].find((token) => !Object.hasOwn(vocabulary, token));
  if (foreign !== undefined)
    throw invalidTokenizer(path, `merges that make tokens of vocab.json, got ${describe(foreign)}: ${CUT_OFF}`);
  const long = Object.keys(vocabulary).filter((token) => token.replace(END_OF_WORD, '').length > 1);
  if (made.size >= long.length / 2) return;
  throw invalidTokenizer(path, `merges for the ${long.length} long tokens of vocab.json, got ${made.size}: ${CUT_OFF}`);
}

/** One pair a line, after a line that names the version. */
function mergesOf(path: string, text: string): readonly (readonly string[])[] {
  const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  return lines.map((line) => {
    const pair = line.split(' ');
    if (pair.length === 2 && pair[1] !== '') return pair;
    throw invalidTokenizer(path, `two pieces a line, got ${pair.length}: ${CUT_OFF}`);
  });
}
