import type { JsonObject } from '../../../checkpoint/files/json-file.ts';
import { requireFew } from './added-tokens.ts';
import { type MergesSource, readMergesSource } from './bpe-files.ts';
import { readClipVocabulary } from './clip-vocabulary.ts';
import { readTokenList } from './special-tokens.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import type { TokenizerFiles } from './tokenizer-files.ts';

const START = '<|startoftext|>';
const END = '<|endoftext|>';
const PIECES = `<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+`;
/** Ends the pieces of a word. */
const END_OF_WORD = '</w>';

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
  const source = readMergesSource(files, END_OF_WORD);
  return source === undefined ? undefined : describeClipSource(files, source);
}

/**
 * Describes CLIP's own tokenizer, with the vocabulary that ships with this package.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function describeShippedClipTokenizer(files: TokenizerFiles): TokenizerDefinition {
  return describeClipSource(files, readClipVocabulary(END_OF_WORD, [START, END]));
}

function describeClipSource(files: TokenizerFiles, source: MergesSource): TokenizerDefinition {
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
