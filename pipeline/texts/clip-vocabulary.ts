import { join } from 'node:path';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { type JsonObject, readJsonFile, readTextFile } from '../../checkpoint/files/json-file.ts';

const START = '<|startoftext|>';
const END = '<|endoftext|>';
const PIECES = `<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+`;

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
 * Reads vocab.json and merges.txt of older checkpoints, as transformers' `CLIPTokenizer` does
 * (models/clip/tokenization_clip.py).
 * @returns the definition of a tokenizer, in the form of tokenizer.json; `undefined` when there are no such files.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function readClipVocabulary(folder: string): JsonObject | undefined {
  const vocabulary = readJsonFile(join(folder, 'vocab.json'), 'CHECKPOINT_TOKENIZER_INVALID');
  const merges = readTextFile(join(folder, 'merges.txt'));
  if (vocabulary === undefined || merges === undefined) return undefined;
  const { path, values } = vocabulary;
  const [startId, endId] = [requireToken(path, values, START), requireToken(path, values, END)];
  const special = (content: string, id: number) => ({ id, content, special: true, normalized: false });
  return {
    added_tokens: [special(START, startId), special(END, endId)],
    normalizer,
    pre_tokenizer: preTokenizer,
    post_processor: {
      type: 'RobertaProcessing',
      sep: [END, endId],
      cls: [START, startId],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      unk_token: END,
      continuing_subword_prefix: '',
      end_of_word_suffix: '</w>',
      vocab: values,
      merges: mergesOf(merges),
    },
  };
}

/** @throws CheckpointError when the vocabulary lacks the token. */
function requireToken(path: string, vocabulary: JsonObject, token: string): number {
  const id = vocabulary[token];
  if (typeof id === 'number') return id;
  throw new CheckpointError('CHECKPOINT_TOKENIZER_INVALID', `${path}: expected the token ${token}, got none.`);
}

/** One pair a line, after a line that names the version. */
function mergesOf(text: string): readonly (readonly string[])[] {
  const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  return lines.map((line) => line.split(' '));
}
