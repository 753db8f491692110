import { basename } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { describe, isJsonObject, type JsonSection } from '../json-file.ts';

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

/** Forms of the weights, the preferred first; of several only the first is fetched. An index names shards. */
export const weightsFiles: readonly string[] = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

/** Files that hold a vocabulary; any one of these sets is enough. */
export const vocabularies: readonly (readonly string[])[] = [
  ['tokenizer.json'],
  ['vocab.txt'],
  ['vocab.json', 'merges.txt'],
];

export function isWeightsIndex(file: string): boolean {
  return file.endsWith('.index.json');
}

/**
 * The shards that an index names, each a file beside it.
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID` when it is no index, or names something that lies elsewhere.
 */
export function shardsOf(index: JsonSection): readonly string[] {
  const weightMap = index.values['weight_map'];
  if (!isJsonObject(weightMap)) throw invalidIndex(index, `weight_map to be an object, got ${describe(weightMap)}`);
  const shards = Object.values(weightMap).map((shard) => {
    if (typeof shard === 'string' && isPlainName(shard)) return shard;
    throw invalidIndex(index, `every shard to lie in the same folder, got ${describe(shard)}`);
  });
  return [...new Set(shards)].sort();
}

function isPlainName(name: string): boolean {
  return name === basename(name) && !/[\\:\0]/.test(name) && !['', '.', '..'].includes(name);
}

function invalidIndex(index: JsonSection, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${index.path}: expected ${expected}.`);
}
