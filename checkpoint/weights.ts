import { realpathSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { CheckpointError } from './errors.ts';
import { describe, errorCode, isJsonObject, isMissing, readJsonFile } from './json-file.ts';
import { readSafetensorsHeader, type TensorRegion } from './safetensors.ts';

/** The tensors of a checkpoint by name. */
export interface Weights {
  readonly folder: string;
  /** The real folder that holds every weights file: graphs name their external data relative to it. */
  readonly dataFolder: string;
  readonly regions: ReadonlyMap<string, TensorRegion>;
}

const SINGLE_FILE = 'model.safetensors';
const SHARD_INDEX = 'model.safetensors.index.json';

/**
 * Opens the weights of a checkpoint folder: `model.safetensors`, or the shards that `model.safetensors.index.json`
 * names. Paths are resolved to real ones, because the Hub's cache is made of symlinks, which onnxruntime refuses.
 * @throws CheckpointError when there are none, or a file is not valid.
 */
export function openWeights(folder: string): Weights {
  const single = realPath(join(folder, SINGLE_FILE));
  const regions = single === undefined ? readShards(folder) : readSafetensorsHeader(single);
  return {
    folder,
    dataFolder: commonFolder(regions.map((region) => region.path)),
    regions: new Map(regions.map((region) => [region.name, region])),
  };
}

/**
 * The first of `names` that the checkpoint has: a tensor may go by several names where weights are tied.
 * @throws CheckpointError `CHECKPOINT_TENSOR_MISSING` or `CHECKPOINT_TENSOR_MISMATCH` (wrong shape).
 */
export function findTensor(weights: Weights, names: readonly string[], shape: readonly number[]): TensorRegion {
  const region = names.map((name) => weights.regions.get(name)).find((found) => found !== undefined);
  const expected = `[${shape.join(', ')}]`;
  if (region === undefined) {
    throw new CheckpointError(
      'CHECKPOINT_TENSOR_MISSING',
      `${weights.folder}: expected a tensor ${names.join(' or ')} ${expected}, got none.`,
    );
  }
  if (region.shape.length !== shape.length || region.shape.some((size, axis) => size !== shape[axis])) {
    throw new CheckpointError(
      'CHECKPOINT_TENSOR_MISMATCH',
      `${region.path}: tensor ${region.name}: expected shape ${expected}, got [${region.shape.join(', ')}].`,
    );
  }
  return region;
}

function readShards(folder: string): readonly TensorRegion[] {
  const indexPath = join(folder, SHARD_INDEX);
  const index = readJsonFile(indexPath, 'CHECKPOINT_WEIGHTS_INVALID');
  if (index === undefined) {
    throw new CheckpointError(
      'CHECKPOINT_WEIGHTS_INVALID',
      `${folder}: expected ${SINGLE_FILE} or ${SHARD_INDEX}, got neither.`,
    );
  }
  const weightMap = index.values['weight_map'];
  if (!isJsonObject(weightMap)) throw invalidIndex(indexPath, `weight_map to be an object, got ${describe(weightMap)}`);
  const shards = new Map<string, ReadonlyMap<string, TensorRegion>>();
  return Object.entries(weightMap).map(([name, file]) => {
    if (typeof file !== 'string' || file !== basename(file) || ['', '.', '..'].includes(file)) {
      throw invalidIndex(indexPath, `${name} to lie in a file of the same folder, got ${describe(file)}`);
    }
    const shard = shards.get(file) ?? readShard(folder, file);
    shards.set(file, shard);
    const region = shard.get(name);
    if (region === undefined) throw invalidIndex(indexPath, `tensor ${name} in ${file}, got none`);
    return region;
  });
}

function readShard(folder: string, file: string): ReadonlyMap<string, TensorRegion> {
  const path = realPath(join(folder, file));
  if (path === undefined)
    throw invalidIndex(join(folder, SHARD_INDEX), `the shard ${file} beside it, got no such file`);
  return new Map(readSafetensorsHeader(path).map((region) => [region.name, region]));
}

function commonFolder(paths: readonly string[]): string {
  const folders = [...new Set(paths.map((path) => dirname(path)))].map((folder) => folder.split(sep));
  const [first = [], ...others] = folders;
  const different = first.findIndex((part, depth) => others.some((folder) => folder[depth] !== part));
  return first.slice(0, different === -1 ? undefined : different).join(sep) || sep;
}

/** The path with all symlinks resolved, or `undefined` when there is no such file. */
function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw new CheckpointError(
      'CHECKPOINT_FILE_UNREADABLE',
      `${path}: expected a readable file (${errorCode(cause)}).`,
      {
        cause,
      },
    );
  }
}

function invalidIndex(path: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: expected ${expected}.`);
}
