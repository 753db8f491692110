import { join } from 'node:path';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { type JsonObject, readJsonFile, readTextFile } from '../../checkpoint/files/json-file.ts';

const START = '<|startoftext|>';
const END = '<|endoftext|>';
const PIECES = `<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+`;

/**
 * What transformers' `CLIPTokenizer` makes of vocab.json and merges.txt (models/clip/tokenization_clip.py), as older
 * checkpoints have them.
 * @returns the definition of a tokenizer, as tokenizer.json holds one; `undefined` when there are no such files.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function readClipVocabulary(folder: string): JsonObject | undefined {
  const vocabulary = readJsonFile(join(folder, 'vocab.json'), 'CHECKPOINT_TOKENIZER_INVALID');
  const merges = readTextFile(join(folder, 'merges.txt'));
  if (vocabulary === undefined || merges === undefined) return undefined;
  const idOf = (token: string) => {
    const id = vocabulary.values[token];
    if (typeof id === 'number') return id;
    throw new CheckpointError(
      'CHECKPOINT_TOKENIZER_INVALID',
      `${vocabulary.path}: expected the token ${token}, got none.`,
    );
  };
  const special = (content: string) => ({ id: idOf(content), content, special: true, normalized: false });
  return {
    added_tokens: [special(START), special(END)],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: PIECES }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      sep: [END, idOf(END)],
      cls: [START, idOf(START)],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      unk_token: END,
      continuing_subword_prefix: '',
      end_of_word_suffix: '</w>',
      vocab: vocabulary.values,
      merges: mergesOf(merges),
    },
  };
}

/** One pair a line, after a line that names the version. */
function mergesOf(text: string): readonly (readonly string[])[] {
  const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  return lines.map((line) => line.split(' '));
}
