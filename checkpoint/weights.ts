import { realpathSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { CheckpointError } from './errors.ts';
import { describe, errorCode, isJsonObject, isMissing, type JsonSection, readJsonFile } from './json-file.ts';
import { transformersName } from './original-names.ts';
import { readSafetensorsHeader, type TensorRegion } from './safetensors.ts';
import { readTorchArchive } from './torch-archive.ts';

/** The tensors of a checkpoint by the names that transformers gives them. */
export interface Weights {
  readonly folder: string;
  /** The real folder that holds every weights file: graphs name their external data relative to it. */
  readonly dataFolder: string;
  readonly regions: ReadonlyMap<string, TensorRegion>;
}

/** One way to store weights: a file, or an index of several. */
interface WeightsFormat {
  readonly singleFile: string;
  readonly shardIndex: string;
  readonly readRegions: (path: string) => readonly TensorRegion[];
}

/** In the order in which they are looked for, as in transformers' `from_pretrained`. */
const formats: readonly WeightsFormat[] = [
  {
    singleFile: 'model.safetensors',
    shardIndex: 'model.safetensors.index.json',
    readRegions: readSafetensorsHeader,
  },
  { singleFile: 'pytorch_model.bin', shardIndex: 'pytorch_model.bin.index.json', readRegions: readTorchArchive },
];

/**
 * Opens the weights of a checkpoint folder: `model.safetensors`, or the shards that `model.safetensors.index.json`
 * names, or else the same of `pytorch_model.bin`. Paths are resolved to real ones, because the Hub's cache is made of
 * symlinks, which onnxruntime refuses. Tensors of original BLIP checkpoints go by transformers' names.
 * @throws CheckpointError when there are none, or a file is not valid.
 */
export function openWeights(folder: string): Weights {
  const regions = readAllRegions(folder);
  return {
    folder,
    dataFolder: commonFolder(regions.map((region) => region.path)),
    regions: byTransformersName(regions),
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

function readAllRegions(folder: string): readonly TensorRegion[] {
  for (const format of formats) {
    const single = realPath(join(folder, format.singleFile));
    if (single !== undefined) return format.readRegions(single);
    const indexPath = join(folder, format.shardIndex);
    const index = readJsonFile(indexPath, 'CHECKPOINT_WEIGHTS_INVALID');
    if (index !== undefined) return readShards(folder, format, index);
  }
  const names = formats.flatMap(({ singleFile, shardIndex }) => [singleFile, shardIndex]);
  const list = `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
  throw new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${folder}: expected ${list}, got none.`);
}

/** A region keeps the name that its file has, for messages. */
function byTransformersName(regions: readonly TensorRegion[]): ReadonlyMap<string, TensorRegion> {
  const named = new Map<string, TensorRegion>();
  for (const region of regions) {
    const name = transformersName(region.name);
    const twin = named.get(name);
    if (twin !== undefined) {
      throw new CheckpointError(
        'CHECKPOINT_WEIGHTS_INVALID',
        `${region.path}: tensor ${region.name}: expected a name of its own, got one that means the same as ${twin.name}.`,
      );
    }
    named.set(name, region);
  }
  return named;
}

function readShards(folder: string, format: WeightsFormat, index: JsonSection): readonly TensorRegion[] {
  const indexPath = index.path;
  const weightMap = index.values['weight_map'];
  if (!isJsonObject(weightMap)) throw invalidIndex(indexPath, `weight_map to be an object, got ${describe(weightMap)}`);
  const shards = new Map<string, ReadonlyMap<string, TensorRegion>>();
  return Object.entries(weightMap).map(([name, file]) => {
    if (typeof file !== 'string' || file !== basename(file) || ['', '.', '..'].includes(file)) {
      throw invalidIndex(indexPath, `${name} to lie in a file of the same folder, got ${describe(file)}`);
    }
    const shard = shards.get(file) ?? readShard(folder, file, format);
    shards.set(file, shard);
    const region = shard.get(name);
    if (region === undefined) throw invalidIndex(indexPath, `tensor ${name} in ${file}, got none`);
    return region;
  });
}

function readShard(folder: string, file: string, format: WeightsFormat): ReadonlyMap<string, TensorRegion> {
  const path = realPath(join(folder, file));
  if (path === undefined)
    throw invalidIndex(join(folder, format.shardIndex), `the shard ${file} beside it, got no such file`);
  return new Map(format.readRegions(path).map((region) => [region.name, region]));
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
