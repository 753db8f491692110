import { readdirSync, realpathSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { withFile } from '../files/binary-file.ts';
import { readIfThere } from '../files/file-errors.ts';
import { type JsonSection, readJsonFile } from '../files/json-file.ts';
import { type Layout, layoutOf } from './layout.ts';
import { type NamedRegion, openClipRegions } from './open-clip-names.ts';
import { transformersName } from './original-names.ts';
import { readSafetensorsHeader, type TensorRegion } from './safetensors.ts';
import { readTorchArchive } from './torch-archive.ts';
import { invalidIndex, readWeightMap, type WeightsForm, weightsFilesOf } from './weights-files.ts';
import { unwrapNames } from './wrapper-names.ts';

/** The tensors of a checkpoint by the names that transformers gives them. */
export interface Weights {
  readonly folder: string;
  /** The real folder of all weights files. Graphs name their external data relative to it. */
  readonly dataFolder: string;
  readonly regions: ReadonlyMap<string, TensorRegion>;
}

/** Readers of the table of tensors in a single file or a shard. */
const readRegions: Readonly<Record<WeightsForm['kind'], (path: string) => readonly TensorRegion[]>> = {
  safetensors: readSafetensorsHeader,
  torch: readTorchArchive,
};

/**
 * Opens the weights of a checkpoint folder: `model.safetensors`, or the shards that `model.safetensors.index.json`
 * names, or else `pytorch_model.bin` or its shards; in open_clip's layout, open_clip's files. Paths are resolved to real
 * ones, because the Hub's cache has symlinks, which onnxruntime refuses. Tensors of original BLIP checkpoints and of
 * open_clip get transformers' names.
 * @throws CheckpointError when there are none, or a file is not valid.
 */
export function openWeights(folder: string): Weights {
  const layout = layoutOf(folder);
  const regions = readAllRegions(folder, layout);
  return {
    folder,
    dataFolder: commonFolder(regions.map((region) => region.path)),
    regions: byTransformersName(regions, layout),
  };
}

/** The tensors of a checkpoint by the names of its files. Throws as `openWeights` does. */
export function readStoredTensors(folder: string): Weights['regions'] {
  return new Map(readAllRegions(folder, layoutOf(folder)).map((region) => [region.name, region]));
}

/**
 * Finds the first of `names` that the checkpoint has: tied weights may lie under any of several names.
 * @throws CheckpointError `CHECKPOINT_TENSOR_MISSING` or `CHECKPOINT_TENSOR_MISMATCH` (wrong shape).
 */
export function findTensor(weights: Weights, names: readonly string[], shape: readonly number[]): TensorRegion {
  const region = names.map((name) => weights.regions.get(name)).find((candidate) => candidate !== undefined);
  const expected = `[${shape.join(', ')}]`;
  if (region === undefined) {
    throw new CheckpointError(
      'CHECKPOINT_TENSOR_MISSING',
      `${weights.folder}: expected a tensor ${names.join(' or ')} ${expected}, got none; ${tensorList(weights)}.`,
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

const SHOWN_TENSORS = 3;

/** The first names of the files, for messages. */
function tensorList({ regions }: Weights): string {
  const all = [...regions.values()].map(({ name }) => name);
  // One of each prefix first: a file may hold two models, or a part of one.
  const firsts = new Map(all.toReversed().map((name) => [name.split('.', 1)[0], name]));
  const shown = new Set([...[...firsts.values()].toReversed(), ...all.slice(0, SHOWN_TENSORS)]);
  const names = [...shown].slice(0, SHOWN_TENSORS).map((name) => name.slice(0, 80));
  const more = regions.size > SHOWN_TENSORS ? ', …' : '';
  return `its weights are ${regions.size} tensors${names.length > 0 ? `: ${names.join(', ')}${more}` : ''}`;
}

function readAllRegions(folder: string, { forms }: Layout): readonly TensorRegion[] {
  for (const { kind, singleFile, shardIndex } of forms) {
    const single = realPath(join(folder, singleFile));
    if (single !== undefined) return readRegions[kind](single);
    if (shardIndex === undefined) continue;
    const index = readJsonFile(join(folder, shardIndex), 'CHECKPOINT_WEIGHTS_INVALID');
    if (index !== undefined) return readShards(folder, kind, index);
  }
  const weightsFiles = weightsFilesOf(forms);
  const list = `${weightsFiles.slice(0, -1).join(', ')} or ${weightsFiles.at(-1)}`;
  throw new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${folder}: expected ${list}, got ${otherWeights(folder)}.`);
}

/** Weights in forms that are not read, by the ends of their names. */
const otherForms: readonly (readonly [name: RegExp, what: string])[] = [
  [/^tf_model\.h5$|\.h5$/, 'weights of TensorFlow'],
  [/\.msgpack$/, 'weights of Flax'],
  [/\.onnx$/, 'a graph of ONNX'],
  [/\.gguf$/, 'weights of llama.cpp'],
  [/\.(incomplete|part|crdownload|aria2)$/, 'a download that did not end'],
];

/** Weights under other names: those of an adapter, of a training script, or of another framework. */
function otherWeights(folder: string): string {
  const all = readdirSync(folder);
  const files = all.filter((file) => /\.(safetensors|bin|pt|pth|ckpt)$/.test(file) && file !== 'training_args.bin');
  const [first] = files;
  if (files.some((file) => file.startsWith('adapter_model.')))
    return 'an adapter alone; blip-handler merge adds its base';
  if (first !== undefined) return `${first.slice(0, 80)}; give it one of these names if it is the model`;
  const others = all.flatMap((file) => {
    const what = otherForms.find(([name]) => name.test(file))?.[1];
    return what === undefined ? [] : [`${file.slice(0, 80)}, ${what}`];
  });
  return others[0] ?? 'none';
}

/** Regions keep the names of their files, for messages. */
function byTransformersName(regions: readonly TensorRegion[], { library }: Layout): ReadonlyMap<string, TensorRegion> {
  const named = new Map<string, TensorRegion>();
  const unwrap = unwrapNames(regions.map(({ name }) => name));
  const rename = library === 'open_clip' ? openClipRegions : renameOriginal;
  const renamed = regions.flatMap((region) => {
    requireMerged(region);
    return rename(unwrap(region.name), region);
  });
  for (const { name, region } of renamed) {
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

function renameOriginal(name: string, region: TensorRegion): readonly NamedRegion[] {
  return [{ name: transformersName(name), region }];
}

/** Layers of LoRA beside those that they change: torch saved a model of PEFT as it is trained. */
function requireMerged({ path, name }: TensorRegion): void {
  if (!/\.lora_(?:embedding_)?[AB]\b/.test(name)) return;
  throw new CheckpointError(
    'CHECKPOINT_WEIGHTS_INVALID',
    `${path}: tensor ${name}: expected a model's own weights, got a LoRA layer that is not merged. ` +
      'Save model.merge_and_unload() instead.',
  );
}

function readShards(folder: string, kind: WeightsForm['kind'], index: JsonSection): readonly TensorRegion[] {
  const shards = new Map<string, ReadonlyMap<string, TensorRegion>>();
  return [...readWeightMap(index)].map(([name, file]) => {
    const shard = shards.get(file) ?? readShard(folder, file, kind, index);
    shards.set(file, shard);
    const region = shard.get(name);
    if (region === undefined) throw invalidIndex(index.path, `tensor ${name} in ${file}, got none`);
    return region;
  });
}

function readShard(
  folder: string,
  file: string,
  kind: WeightsForm['kind'],
  index: JsonSection,
): ReadonlyMap<string, TensorRegion> {
  const path = realPath(join(folder, file));
  if (path === undefined) throw invalidIndex(index.path, `the shard ${file} beside it, got no such file`);
  return new Map(readRegions[kind](path).map((region) => [region.name, region]));
}

function commonFolder(paths: readonly string[]): string {
  const folders = [...new Set(paths.map((path) => dirname(path)))].map((folder) => folder.split(sep));
  const [first = [], ...others] = folders;
  const different = first.findIndex((part, depth) => others.some((folder) => folder[depth] !== part));
  return first.slice(0, different === -1 ? undefined : different).join(sep) || sep;
}

/**
 * The path with all symlinks resolved, or `undefined` when there is no such file. The file is opened by its own name first,
 * because real names in the Hub's cache are checksums, which would tell nobody which file is wrong.
 */
function realPath(path: string): string | undefined {
  return readIfThere(path, () => withFile(path, () => realpathSync(path)));
}
