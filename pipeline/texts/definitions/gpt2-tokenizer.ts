import { requireFew } from './added-tokens.ts';
import { readMergesSource } from './bpe-files.ts';
import { cleansSpacesOfBpe } from './clip-tokenizer.ts';
import { readTokenList } from './special-tokens.ts';
import { postProcessorOf } from './template.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import type { TokenizerFiles } from './tokenizer-files.ts';

const usualTokens = { unk_token: '<|endoftext|>', bos_token: '<|endoftext|>', eos_token: '<|endoftext|>' };

/**
 * Describes a `GPT2Tokenizer` of transformers (models/gpt2/tokenization_gpt2.py), which OPT has. Of tokenizer.json
 * vocabulary, merges, added tokens and the template count.
 * @returns `undefined` when the folder has neither tokenizer.json nor vocab.json with merges.txt.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function describeGpt2Tokenizer(files: TokenizerFiles): TokenizerDefinition | undefined {
  const source = readMergesSource(files, '');
  if (source === undefined) return undefined;
  const { path, vocabulary, merges } = source;
  const { values } = files.settings;
  const tokens = readTokenList(files, usualTokens);
  const addsSpace = values['add_prefix_space'] === true;
  return {
    path,
    parts: {
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: addsSpace, trim_offsets: true, use_regex: true },
      post_processor: postProcessorOf(files, tokens),
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: { type: 'BPE', continuing_subword_prefix: '', end_of_word_suffix: '', vocab: vocabulary, merges },
    },
    addedTokens: requireFew(tokens.added, files.settings.path),
    cleansSpaces: cleansSpacesOfBpe(values),
  };
}
