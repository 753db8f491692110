/** The small files that a checkpoint may have. A download fetches all that exist. */
export const settingsFiles: readonly string[] = [
  'config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.txt',
  'vocab.json',
  'merges.txt',
  'special_tokens_map.json',
];

/** Sets of files that hold a vocabulary. Any one of them is enough. */
export const vocabularies: readonly (readonly string[])[] = [
  ['tokenizer.json'],
  ['vocab.txt'],
  ['vocab.json', 'merges.txt'],
];
