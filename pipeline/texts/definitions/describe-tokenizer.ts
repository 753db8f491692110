import { describeBertTokenizer } from './bert-tokenizer.ts';
import { describeClipTokenizer } from './clip-tokenizer.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import { invalidTokenizer, modelOf, readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.ts';
import { describeWrittenTokenizer } from './written-tokenizer.ts';

type Describe = (files: TokenizerFiles) => TokenizerDefinition | undefined;

/** Classes of transformers that make a tokenizer from their own rules. A later family adds its class here. */
const classes: Readonly<Record<string, Describe>> = {
  BertTokenizer: describeBertTokenizer,
  DistilBertTokenizer: describeBertTokenizer,
  CLIPTokenizer: describeClipTokenizer,
};

/**
 * Describes the tokenizer of a checkpoint, as transformers' `AutoTokenizer` finds it: `tokenizer_class` says what it is. A
 * class that is not known here means tokenizer.json as it is written. Without one, the files tell the family.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` or `CHECKPOINT_FILE_UNREADABLE`.
 */
export function describeTokenizer(folder: string): TokenizerDefinition {
  const files = readTokenizerFiles(folder);
  const described = describeAsNamed(files) ?? describeByFiles(files);
  if (described !== undefined) return described;
  throw invalidTokenizer(folder, 'tokenizer.json, vocab.txt, or vocab.json and merges.txt, got none of these sets');
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
  if (definition === undefined) return describeClipTokenizer(files) ?? describeBertTokenizer(files);
  const { type, end_of_word_suffix } = modelOf(definition);
  if (type === 'WordPiece') return describeBertTokenizer(files);
  if (type === 'BPE' && end_of_word_suffix === '</w>') return describeClipTokenizer(files);
  return describeWrittenTokenizer(files, definition);
}
