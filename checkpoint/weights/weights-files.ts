import { basename } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { describe, isJsonObject, type JsonSection } from '../files/json-file.ts';

/** A form of the weights: in a single file or, where the library writes them, in shards that an index names. */
export interface WeightsForm {
  readonly kind: 'safetensors' | 'torch';
  readonly singleFile: string;
  readonly shardIndex?: string;
}

/** In the order of transformers' `from_pretrained`. */
export const transformersForms: readonly WeightsForm[] = [
  { kind: 'safetensors', singleFile: 'model.safetensors', shardIndex: 'model.safetensors.index.json' },
  { kind: 'torch', singleFile: 'pytorch_model.bin', shardIndex: 'pytorch_model.bin.index.json' },
];

/** In the order of open_clip's `download_pretrained_from_hf` (open_clip/pretrained.py). */
export const openClipForms: readonly WeightsForm[] = [
  { kind: 'safetensors', singleFile: 'open_clip_model.safetensors' },
  { kind: 'torch', singleFile: 'open_clip_pytorch_model.bin' },
];

/** The files of which a checkpoint must have one, the preferred first. */
export function weightsFilesOf(forms: readonly WeightsForm[]): readonly string[] {
  return forms.flatMap(({ singleFile, shardIndex }) => [singleFile, ...(shardIndex === undefined ? [] : [shardIndex])]);
}

export function isWeightsIndex(file: string): boolean {
  return transformersForms.some(({ shardIndex }) => shardIndex === file);
}

/**
 * The shard of each tensor that an index names: a file beside the index.
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID` when it is no index, or names a file in another folder.
 */
export function readWeightMap(index: JsonSection): ReadonlyMap<string, string> {
  const weightMap = index.values['weight_map'];
  if (!isJsonObject(weightMap))
    throw invalidIndex(index.path, `weight_map to be an object, got ${describe(weightMap)}`);
  return new Map(
    Object.entries(weightMap).map(([tensor, shard]) => {
      if (typeof shard === 'string' && isPlainName(shard)) return [tensor, shard];
      throw invalidIndex(index.path, `${tensor} to lie in a file of the same folder, got ${describe(shard)}`);
    }),
  );
}

/**
 * The shards that an index names, each once.
 * @throws as `readWeightMap` does.
 */
export function shardsOf(index: JsonSection): readonly string[] {
  return [...new Set(readWeightMap(index).values())].sort();
}

/** Whether every system reads it as the name of a file. One system's name may be another's way out of the folder. */
function isPlainName(name: string): boolean {
  return name === basename(name) && !/[\\:\0]/.test(name) && !['', '.', '..'].includes(name);
}

/** The error of an index that cannot be used. */
export function invalidIndex(path: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: expected ${expected}.`);
}
