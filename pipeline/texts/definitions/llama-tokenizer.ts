import { requireFew } from './added-tokens.ts';
import { type MergesSource, readMergesSource } from './bpe-files.ts';
import { cleansSpacesOfBpe } from './clip-tokenizer.ts';
import { ownTokens, readSentencePiece, type SentencePiece } from './sentence-piece.ts';
import { type MoreTokens, readTokenList } from './special-tokens.ts';
import { postProcessorOf } from './template.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import type { TokenizerFiles } from './tokenizer-files.ts';

const usualTokens = { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' };
const SPACE = '▁';

/**
 * Describes a `LlamaTokenizer` of transformers (models/llama/tokenization_llama.py), which Vicuna has. Of tokenizer.json
 * vocabulary, merges, added tokens and the template count. tokenizer_config.json's `legacy` says whether a space comes
 * before each stretch between added tokens, or before the first alone.
 * @returns `undefined` when the folder has neither tokenizer.json nor tokenizer.model.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function describeLlamaTokenizer(files: TokenizerFiles): TokenizerDefinition | undefined {
  const source = readSource(files);
  if (source === undefined) return undefined;
  const { path, vocabulary, merges } = source;
  const { values, path: settingsPath } = files.settings;
  const tokens = readTokenList(files, usualTokens, source);
  const addsSpace = values['add_prefix_space'] !== false;
  return {
    path,
    parts: {
      normalizer: null,
      pre_tokenizer: {
        type: 'Metaspace',
        replacement: SPACE,
        prepend_scheme: addsSpace ? (values['legacy'] === true ? 'always' : 'first') : 'never',
        split: false,
      },
      post_processor: postProcessorOf(files, tokens),
      decoder: decoderOf(addsSpace),
      model: { type: 'BPE', fuse_unk: true, byte_fallback: true, vocab: vocabulary, merges },
    },
    addedTokens: requireFew(tokens.added, settingsPath),
    cleansSpaces: cleansSpacesOfBpe(values),
  };
}

function decoderOf(addsSpace: boolean): TokenizerDefinition['parts']['decoder'] {
  const spaces = { type: 'Replace', pattern: { String: SPACE }, content: ' ' };
  const first = addsSpace ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [];
  return { type: 'Sequence', decoders: [spaces, { type: 'ByteFallback' }, { type: 'Fuse' }, ...first] };
}

function readSource(files: TokenizerFiles): (MergesSource & MoreTokens) | undefined {
  if (files.definition !== undefined) return readMergesSource(files, '');
  const model = readSentencePiece(files.folder, 'tokenizer.model', 'BPE');
  if (model === undefined) return undefined;
  const { path, pieces } = model;
  const vocabulary = Object.fromEntries(pieces.map(({ piece }, id) => [piece, id]));
  return { path, vocabulary, merges: mergesOf(model), usualExtra: ownTokens(model) };
}

/**
 * All ways to make a piece of two others, in the order of the pieces (`generate_merges` in transformers): a model of
 * SentencePiece has no merges, and its pieces have the order in which they were made.
 */
function mergesOf({ pieces }: SentencePiece): readonly (readonly [string, string])[] {
  const known = new Set(pieces.map(({ piece }) => piece));
  return pieces.flatMap(({ piece }) => {
    const letters = Array.from(piece);
    const splits = letters.slice(1).map((_, index) => {
      const first = letters.slice(0, index + 1).join('');
      return [first, piece.slice(first.length)] as const;
    });
    return splits.filter(([first, second]) => known.has(first) && known.has(second));
  });
}
