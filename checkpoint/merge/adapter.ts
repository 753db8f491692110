import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type AdapterConfig, readAdapterConfig } from '../config/adapter-config.ts';
import { CheckpointError } from '../errors.ts';
import { isFloat } from '../new-checkpoint/float-tensor.ts';
import { readSafetensorsHeader, type TensorRegion } from '../weights/safetensors.ts';
import { readTorchArchive } from '../weights/torch-archive.ts';

/** The matrices of LoRA for one module. Names of the parts are those of PEFT. */
export interface LoraModule {
  /** As in the file, without the prefix of PEFT. */
  readonly name: string;
  /** [rank, inputs, …], or for an embedding [rank, words]. */
  readonly a: TensorRegion;
  /** [outputs, rank, …], or for an embedding [width, rank]. */
  readonly b: TensorRegion;
  readonly isEmbedding: boolean;
  /** DoRA's lengths of rows. */
  readonly magnitudes: TensorRegion | undefined;
  /** The bias of B, which adds to that of the module. */
  readonly bias: TensorRegion | undefined;
}

export interface Adapter {
  readonly config: AdapterConfig;
  readonly modules: readonly LoraModule[];
  /** Tensors that take the place of the base's: biases, and those of `modules_to_save`. By name. */
  readonly replacements: ReadonlyMap<string, TensorRegion>;
}

/** Names have about 100 characters. The time of patterns grows with the fourth power of their length. */
const MAX_NAME_CHARACTERS = 256;
const SAFETENSORS = 'adapter_model.safetensors';
const TORCH = 'adapter_model.bin';

/** `MODULE.PART`, then the adapter's name and `weight` or `bias`, where they are there. */
const PART = /^(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)((?:\.[^.]+)*)$/;

/**
 * Opens the folder of a LoRA adapter that PEFT saved. Reads the tables of its tensors alone.
 * @throws CheckpointError when it is none, is damaged, or has parts that cannot be merged.
 */
export function openAdapter(folder: string): Adapter {
  const config = readAdapterConfig(folder);
  const regions = readRegions(folder);
  const parts = new Map<string, Map<string, TensorRegion>>();
  const replacements = new Map<string, TensorRegion>();
  for (const region of regions) {
    if (region.name.length > MAX_NAME_CHARACTERS)
      throw invalidFolder(folder, `names of at most ${MAX_NAME_CHARACTERS} characters, got ${region.name.length}`);
    if (!isFloat(region.dtype)) throw invalidTensor(region, `floating point numbers, got ${region.dtype}`);
    const name = withoutWrappers(region.name);
    const [, module = '', part = '', rest = ''] = PART.exec(name) ?? [];
    if (module === '') addReplacement(replacements, name, region);
    else addPart(parts, module, rest.endsWith('.bias') ? `${part}.bias` : part, region);
  }
  const modules = [...parts].map(([name, found]) => loraModule(folder, name, found, config));
  if (modules.length === 0)
    throw invalidFolder(folder, `matrices of LoRA (lora_A, lora_B), got ${regions.length} others`);
  return { config, modules, replacements };
}

function readRegions(folder: string): readonly TensorRegion[] {
  const files = readdirSync(folder); // A symlink to nothing is there too, and refused when it is opened.
  if (files.includes(SAFETENSORS)) return readSafetensorsHeader(join(folder, SAFETENSORS));
  if (files.includes(TORCH)) return readTorchArchive(join(folder, TORCH));
  throw invalidFolder(folder, `${SAFETENSORS} or ${TORCH}, got none`);
}

/** PEFT wraps the layers that it changes, and those of `modules_to_save`. */
function withoutWrappers(name: string): string {
  return name.replace('.base_layer.', '.').replace(/\.modules_to_save(?:\.default)?\./, '.');
}

function addPart(
  parts: Map<string, Map<string, TensorRegion>>,
  module: string,
  part: string,
  region: TensorRegion,
): void {
  const ofModule = parts.get(module) ?? new Map<string, TensorRegion>();
  parts.set(module, ofModule);
  addOnce(ofModule, part, region);
}

/** With `bias="all"` PEFT saves biases of `modules_to_save` twice, once with the wrapper in their name, and the old ones. */
function addReplacement(replacements: Map<string, TensorRegion>, name: string, region: TensorRegion): void {
  if (name.includes('.original_module.')) return;
  const other = replacements.get(name);
  if (other === undefined || isWrapped(other)) replacements.set(name, region);
  else if (!isWrapped(region)) addOnce(replacements, name, region);
}

function isWrapped({ name }: TensorRegion): boolean {
  return name.includes('.modules_to_save.');
}

/** Two tensors of one part belong to two adapters, of which each would need a folder of its own. */
function addOnce(regions: Map<string, TensorRegion>, key: string, region: TensorRegion): void {
  const other = regions.get(key);
  if (other !== undefined) throw invalidTensor(region, `one adapter, got another one in ${other.name}`);
  regions.set(key, region);
}

function loraModule(
  folder: string,
  name: string,
  parts: ReadonlyMap<string, TensorRegion>,
  { usesMagnitudes }: AdapterConfig,
): LoraModule {
  const isEmbedding = parts.has('lora_embedding_A');
  const [aName, bName] = isEmbedding ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A', 'lora_B'];
  const [a, b] = [parts.get(aName), parts.get(bName)];
  const magnitudes = parts.get('lora_magnitude_vector');
  if (a === undefined || b === undefined)
    throw invalidFolder(folder, `${aName} and ${bName} of ${name}, got one of them`);
  if (usesMagnitudes !== (magnitudes !== undefined))
    throw invalidFolder(
      folder,
      `lora_magnitude_vector of ${name} to go with use_dora ${usesMagnitudes}, got otherwise`,
    );
  return { name, a, b, isEmbedding, magnitudes, bias: parts.get('lora_B.bias') };
}

function invalidFolder(folder: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${folder}: expected ${expected}.`);
}

/** The error about one tensor of an adapter. */
export function invalidTensor({ path, name }: TensorRegion, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: tensor ${name}: expected ${expected}.`);
}
