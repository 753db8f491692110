import { openCheckpoint } from '../checkpoint.ts';
import { CheckpointError } from '../errors.ts';
import { floatBytes, isFloat, readFloats } from '../new-checkpoint/float-tensor.ts';
import {
  copiedTensor,
  copySettings,
  type WriteOptions,
  writeNewFolder,
  writeWeights,
} from '../new-checkpoint/new-folder.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { openWeights } from '../weights/weights.ts';
import { type Adapter, openAdapter } from './adapter.ts';
import { baseNames } from './base-names.ts';
import { addBias, addLora, type Change, replaceBy, scaleOf } from './changes.ts';

/** The result in numbers. */
export interface MergedCheckpoint {
  /** Modules that the adapter has matrices for. */
  readonly moduleCount: number;
  /** Tensors that the adapter has in place of the base's. */
  readonly replacedCount: number;
  readonly weightsBytes: number;
}

/**
 * Makes a checkpoint of a LoRA adapter and its base, as PEFT's `merge_and_unload` does: each matrix becomes W + s * B * A.
 * The dtype of each tensor stays the base's. One tensor is in memory at a time. The new folder appears only when it is
 * whole.
 * @param adapterFolder of PEFT: adapter_config.json and adapter_model.safetensors or .bin.
 * @param baseFolder in Hugging Face layout.
 * @param target a folder that does not exist yet, or is empty.
 * @throws CheckpointError when either cannot be read, they do not fit, or a merged weight is not finite; the reason of
 *   `signal`; errors of the file system.
 */
export async function mergeCheckpoint(
  adapterFolder: string,
  baseFolder: string,
  target: string,
  options: WriteOptions = {},
): Promise<MergedCheckpoint> {
  const adapter = openAdapter(adapterFolder);
  if (openCheckpoint(baseFolder).isInt8) {
    const message = `${baseFolder}: expected a base of floating point weights, got one of int8; merge first.`;
    throw new CheckpointError('CHECKPOINT_CONFIG_INVALID', message);
  }
  const { regions } = openWeights(baseFolder);
  const changes = changesOf(adapterFolder, adapter, regions);
  const tensors = [...regions].map(([name, region]) => {
    const ofTensor = changes.get(placeOf(region)) ?? [];
    return ofTensor.length === 0 ? copiedTensor(name, region) : changedTensor(name, region, ofTensor);
  });
  let weightsBytes = 0;
  await writeNewFolder(target, async (folder) => {
    weightsBytes = await writeWeights(folder, tensors, options);
    await copySettings(baseFolder, folder);
  });
  return { moduleCount: adapter.modules.length, replacedCount: adapter.replacements.size, weightsBytes };
}

/** Names that share bytes are one tensor: what changes one of them changes both. */
function placeOf({ path, offsetBytes }: TensorRegion): string {
  return `${path}:${offsetBytes}`;
}

/** The changes of each tensor of the base, by its place. */
function changesOf(
  folder: string,
  { config, modules, replacements }: Adapter,
  base: ReadonlyMap<string, TensorRegion>,
): ReadonlyMap<string, readonly Change[]> {
  const changes: (readonly [name: string, change: Change])[] = [];
  for (const [name, region] of replacements) changes.push([name, replaceBy(region)]);
  for (const module of modules) {
    const scale = scaleOf(module, config);
    changes.push([`${module.name}.weight`, addLora(module, scale)]);
    if (module.bias !== undefined) changes.push([`${module.name}.bias`, addBias(module.bias, scale)]);
  }
  const names = baseNames(
    folder,
    changes.map(([name]) => name),
    new Set(base.keys()),
  );
  const byPlace = new Map<string, Change[]>();
  for (const [name, change] of changes) {
    const region = base.get(names.get(name) ?? '');
    if (region === undefined) continue; // baseNames has found all of them.
    change.check(region);
    const place = placeOf(region);
    byPlace.set(place, [...(byPlace.get(place) ?? []), change]);
  }
  return byPlace;
}

function changedTensor(name: string, region: TensorRegion, changes: readonly Change[]): TensorToWrite {
  const { dtype, shape, lengthBytes } = region;
  if (!isFloat(dtype)) throw invalidBase(region, `floating point numbers, got ${dtype}`);
  return {
    name,
    dtype,
    shape,
    lengthBytes,
    read() {
      const values = changes.reduce((current, change) => change.apply(current, region), readFloats(region));
      if (!values.every(Number.isFinite)) throw invalidBase(region, 'finite weights after the merge, got others');
      return floatBytes(values, dtype);
    },
  };
}

function invalidBase({ path, name }: TensorRegion, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: tensor ${name}: expected ${expected}.`);
}
