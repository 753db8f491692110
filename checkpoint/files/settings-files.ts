import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';

/** The files that a tokenizer may be made of. */
const tokenizerFiles: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.txt',
  'vocab.json',
  'merges.txt',
  'spiece.model',
  'tokenizer.model',
  'added_tokens.json',
  'special_tokens_map.json',
];

/** The small files that a checkpoint may have. A download fetches all that exist. */
export const settingsFiles: readonly string[] = [
  'config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'generation_config.json',
  ...tokenizerFiles,
];

/** Those of a checkpoint in open_clip's own files. */
export const openClipSettingsFiles: readonly string[] = ['open_clip_config.json', ...tokenizerFiles];

/** InstructBLIP's Q-Former has a tokenizer of BERT in a folder of its own. */
export const QFORMER_TOKENIZER_FOLDER = 'qformer_tokenizer';

/** The files of that tokenizer, by their paths in the checkpoint. */
export const qformerTokenizerFiles: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.txt',
  'added_tokens.json',
  'special_tokens_map.json',
].map((name) => `${QFORMER_TOKENIZER_FOLDER}/${name}`);

/** Sets of files that hold a vocabulary. Any one of them is enough. */
export const vocabularies: readonly (readonly string[])[] = [
  ['tokenizer.json'],
  ['vocab.txt'],
  ['vocab.json', 'merges.txt'],
  ['spiece.model'],
  ['tokenizer.model'],
];

/** Whether a folder has the vocabulary of a tokenizer. */
export function hasVocabulary(folder: string): boolean {
  return vocabularies.some((files) => files.every((file) => existsSync(join(folder, file))));
}

const MEBIBYTE = 1 << 20;
/** The largest settings of published BLIP and CLIP checkpoints have some hundred kilobytes. */
const USUAL_MAX_BYTES = 2 * MEBIBYTE;

/** Vocabularies of 250,000 tokens fit. Those of BLIP and CLIP have a tenth of that. */
const largeFiles: Readonly<Record<string, number>> = {
  'tokenizer.json': 24 * MEBIBYTE,
  'vocab.txt': 8 * MEBIBYTE,
  'vocab.json': 8 * MEBIBYTE,
  'merges.txt': 8 * MEBIBYTE,
  'spiece.model': 8 * MEBIBYTE,
  'tokenizer.model': 8 * MEBIBYTE,
  'model.safetensors.index.json': 8 * MEBIBYTE,
  'pytorch_model.bin.index.json': 8 * MEBIBYTE,
};

/** The most bytes that are read of a file of this name or path, so that a hostile one takes little memory and time. */
export function maxFileBytes(path: string): number {
  return largeFiles[basename(path)] ?? USUAL_MAX_BYTES;
}
