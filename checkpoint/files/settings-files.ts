/** The small files that a checkpoint may have; all that exist are fetched. */
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

/** Files that hold a vocabulary; any one of these sets is enough. */
export const vocabularies: readonly (readonly string[])[] = [
  ['tokenizer.json'],
  ['vocab.txt'],
  ['vocab.json', 'merges.txt'],
];
