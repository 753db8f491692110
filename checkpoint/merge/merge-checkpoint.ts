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
import { layoutOf } from '../weights/layout.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { openWeights } from '../weights/weights.ts';
import { type Adapter, openAdapter } from './adapter.ts';
import { baseNames, twinOf } from './base-names.ts';
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
  requireBaseOfTransformers(baseFolder);
  const { quantizedTo } = openCheckpoint(baseFolder);
  if (quantizedTo !== undefined) {
    const message = `${baseFolder}: expected a base of floating point weights, got one of ${quantizedTo}; merge first.`;
    throw new CheckpointError('CHECKPOINT_CONFIG_INVALID', message);
  }
  const tensors = mergedTensors(adapterFolder, adapter, openWeights(baseFolder).regions);
  let weightsBytes = 0;
  await writeNewFolder(target, async (folder) => {
    weightsBytes = await writeWeights(folder, tensors, options);
    await copySettings(baseFolder, folder);
  });
  return { moduleCount: adapter.modules.length, replacedCount: adapter.replacements.size, weightsBytes };
}

/** PEFT names the modules of an adapter as transformers does. */
function requireBaseOfTransformers(baseFolder: string): void {
  if (layoutOf(baseFolder).library === 'transformers') return;
  const expected = 'a base in Hugging Face layout, as PEFT trains adapters for';
  throw new CheckpointError('CHECKPOINT_CONFIG_INVALID', `${baseFolder}: expected ${expected}, got open_clip's files.`);
}

type Regions = ReadonlyMap<string, TensorRegion>;

/** A change, and the name of its tensor as the adapter has it. */
interface NamedChange {
  readonly name: string;
  readonly change: Change;
  /** PEFT trains a copy of the modules in `modules_to_save`, which is tied to nothing any more. */
  readonly isCopy: boolean;
}

/** All tensors of the new checkpoint: those of the base, and those that were tied and no longer are. */
function mergedTensors(folder: string, adapter: Adapter, base: Regions): readonly TensorToWrite[] {
  const namedChanges = changesOf(adapter);
  const places = baseNames(
    folder,
    namedChanges.map(({ name }) => name),
    new Set(base.keys()),
  );
  const changes = new Map<string, Change[]>();
  const untied = new Map<string, TensorToWrite>();
  for (const { name, change, isCopy } of namedChanges) {
    const { own = '', found = '' } = places.get(name) ?? {};
    const region = base.get(found);
    if (region === undefined) continue; // baseNames has found all of them.
    change.check(region);
    const twin = twinOf(own);
    const isUntied = isCopy && (own !== found || !base.has(twin));
    if (isUntied && own !== found) untied.set(own, changedTensor(own, region, [change]));
    if (isUntied && own === found && !untied.has(twin)) untied.set(twin, copiedTensor(twin, region));
    const names = isCopy ? [own].filter((each) => each === found) : tiedNames(base, region);
    for (const each of names) changes.set(each, [...(changes.get(each) ?? []), change]);
  }
  const tensors = [...base].map(([name, region]) => {
    const ofTensor = changes.get(name);
    return ofTensor === undefined ? copiedTensor(name, region) : changedTensor(name, region, ofTensor);
  });
  return [...tensors, ...untied.values()];
}

/** The names of all tensors that lie on the same bytes: they are one tensor, and change together. */
function tiedNames(base: Regions, { path, offsetBytes }: TensorRegion): readonly string[] {
  const tied = [...base].filter(([, region]) => region.path === path && region.offsetBytes === offsetBytes);
  return tied.map(([name]) => name);
}

function changesOf({ config, modules, replacements }: Adapter): readonly NamedChange[] {
  const changes: NamedChange[] = [];
  for (const [name, region] of replacements) {
    const isCopy = config.modulesToSave.some((module) => name.includes(`${module}.`));
    changes.push({ name, change: replaceBy(region), isCopy });
  }
  for (const module of modules) {
    const scale = scaleOf(module, config);
    changes.push({ name: `${module.name}.weight`, change: addLora(module, scale), isCopy: false });
    if (module.bias !== undefined)
      changes.push({ name: `${module.name}.bias`, change: addBias(module.bias, scale), isCopy: false });
  }
  return changes;
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
