import { layoutOf } from '../../../checkpoint/weights/layout.ts';
import { cleanOpenClipText } from '../open-clip-cleaning.ts';
import { describeBertTokenizer } from './bert-tokenizer.ts';
import { describeClipTokenizer, describeShippedClipTokenizer } from './clip-tokenizer.ts';
import { describeGpt2Tokenizer } from './gpt2-tokenizer.ts';
import { describeLlamaTokenizer } from './llama-tokenizer.ts';
import { describeT5Tokenizer } from './t5-tokenizer.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import { invalidTokenizer, modelOf, readJson, readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.ts';
import { describeWrittenTokenizer } from './written-tokenizer.ts';

const SETS =
  'tokenizer.json, vocab.txt, or vocab.json and merges.txt, spiece.model, or tokenizer.model, got none of these sets';

type Describe = (files: TokenizerFiles) => TokenizerDefinition | undefined;

/** Classes of transformers that make a tokenizer from their own rules. A later family adds its class here. */
const classes: Readonly<Record<string, Describe>> = {
  BertTokenizer: describeBertTokenizer,
  DistilBertTokenizer: describeBertTokenizer,
  CLIPTokenizer: describeClipTokenizer,
  GPT2Tokenizer: describeGpt2Tokenizer,
  T5Tokenizer: describeT5Tokenizer,
  LlamaTokenizer: describeLlamaTokenizer,
};

/**
 * Describes the tokenizer of a checkpoint, as transformers' `AutoTokenizer` finds it: `tokenizer_class` says what it is. A
 * class that is not known here means tokenizer.json as it is written. Without one, the files tell the family. open_clip's
 * files need none of a tokenizer.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` or `CHECKPOINT_FILE_UNREADABLE`.
 */
export function describeTokenizer(folder: string): TokenizerDefinition {
  const files = readTokenizerFiles(folder);
  const described = describeAsNamed(files) ?? describeByFiles(files);
  if (layoutOf(folder).library === 'open_clip')
    return { ...(described ?? describeShippedClipTokenizer(files)), clean: cleanOpenClipText };
  if (described !== undefined) return described;
  throw invalidTokenizer(folder, SETS);
}

function describeAsNamed(files: TokenizerFiles): TokenizerDefinition | undefined {
  const { definition, settings } = files;
  const name = settings.values['tokenizer_class'];
  if (typeof name !== 'string') return undefined;
  const describe = Object.entries(classes).find(([known]) => known === name.replace(/Fast$/, ''))?.[1];
  if (describe !== undefined) return describe(files);
  return definition && describeWrittenTokenizer(files, definition);
}

function describeByFiles(files: TokenizerFiles): TokenizerDefinition | undefined {
  const { definition } = files;
  if (definition === undefined) {
    const describePairs = endsWords(files) ? describeClipTokenizer : describeGpt2Tokenizer;
    return (
      describePairs(files) ??
      describeBertTokenizer(files) ??
      describeT5Tokenizer(files) ??
      describeLlamaTokenizer(files)
    );
  }
  const { type, end_of_word_suffix } = modelOf(definition);
  if (type === 'WordPiece') return describeBertTokenizer(files);
  if (type === 'BPE' && end_of_word_suffix === '</w>') return describeClipTokenizer(files);
  return describeWrittenTokenizer(files, definition);
}

/** CLIP's pieces at the end of a word have a sign, and GPT-2's have one where a word begins. */
function endsWords({ folder }: TokenizerFiles): boolean {
  const tokens = Object.keys(readJson(folder, 'vocab.json')?.values ?? {});
  return tokens.some((token) => token.endsWith('</w>'));
}
