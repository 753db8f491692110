import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '../checkpoint.ts';
import { CheckpointError } from '../errors.ts';
import { readJsonFile } from '../files/json-file.ts';
import {
  copiedTensor,
  copySettings,
  totalBytes,
  type WriteOptions,
  writeNewFolder,
  writeWeights,
} from '../new-checkpoint/new-folder.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import {
  blockSizeOf,
  FORMAT,
  languageModelHeads,
  quantizedNames,
  type Storage,
  storageOf,
  VERSION,
} from '../weights/int8-format.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { openWeights } from '../weights/weights.ts';
import type { CalibratedInput, Calibration } from './calibration.ts';
import { isUnused } from './needless-tensors.ts';
import { blockTensors, halfByteTensors, inputZeroPoint, productTensors } from './quantized-tensors.ts';
import { tensorIn } from './tensor-in-16-bits.ts';

const CONFIG = 'config.json';

/** The bits of a weight in the layers of a language model behind a Q-Former. */
export const languageModelBits = [8, 4] as const;
export type LanguageModelBits = (typeof languageModelBits)[number];

/**
 * The most inputs that have one scale in such a language model. Some features of its rows are far larger than the others,
 * and those in the same block lose by it: docs/decisions/0038-quantized-language-models.md.
 */
const LANGUAGE_BLOCK: Readonly<Record<LanguageModelBits, number>> = { 8: 64, 4: 32 };

export interface QuantizeOptions extends WriteOptions {
  /** How rows look that the image tower reads, by pictures. Without it each row has steps of its own. */
  readonly calibration?: Calibration;
  /** 8 unless it is given. Its head keeps 8. */
  readonly languageModelBits?: LanguageModelBits | undefined;
}

/** The result in numbers. */
export interface QuantizedCheckpoint {
  readonly matrixCount: number;
  /** How many of them have 4 bits. */
  readonly halfByteMatrixCount: number;
  readonly weightsBytes: number;
  readonly sourceBytes: number;
}

type Regions = ReadonlyMap<string, TensorRegion>;

/** A quantization of one checkpoint. */
interface Job {
  readonly regions: Regions;
  /** By the name of the matrix that reads them. */
  readonly inputs: ReadonlyMap<string, CalibratedInput>;
  readonly bits: LanguageModelBits;
}

/**
 * Makes an int8 checkpoint from one in Hugging Face layout, one tensor after the other. The new folder appears only when it
 * is whole.
 * @param target a folder that does not exist yet, or is empty.
 * @throws CheckpointError when the source's config.json or weights cannot be read, a matrix has weights that are not
 *   finite, or it is int8 already, or 4 bits are asked for where there is no language model that could have them; the
 *   reason of `signal`; errors of the file system.
 */
export async function quantizeCheckpoint(
  folder: string,
  target: string,
  options: QuantizeOptions = {},
): Promise<QuantizedCheckpoint> {
  requireFloats(folder);
  const { regions } = openWeights(folder);
  const { calibration, languageModelBits: bits = 8 } = options;
  const inputs = new Map(calibration?.inputs.flatMap((input) => input.matrices.map((name) => [name, input])));
  const tensors = [...layerTensors({ regions, inputs, bits }), ...headTensors(regions)];
  if (bits === 4) requireHalfBytes(folder, tensors);
  await writeNewFolder(target, async (newFolder) => {
    await writeWeights(newFolder, inOrder(tensors), options);
    await writeConfig(folder, newFolder, { bits, calibration });
    await copySettings(folder, newFolder, [CONFIG]);
  });
  const { values, blocks, blocks4Bits } = quantizedNames;
  return {
    matrixCount: countOf(tensors, [values, blocks, blocks4Bits]),
    halfByteMatrixCount: countOf(tensors, [blocks4Bits]),
    weightsBytes: totalBytes(tensors),
    sourceBytes: totalBytes([...regions.values()]),
  };
}

function countOf(tensors: readonly TensorToWrite[], names: readonly string[]): number {
  return tensors.filter(({ name }) => names.includes(name.slice(name.lastIndexOf('.') + 1))).length;
}

/** @throws CheckpointError when the folder cannot be read or is int8 already. */
export function requireFloats(folder: string): void {
  if (!openCheckpoint(folder).isInt8) return;
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected a checkpoint of floating point weights, got one of int8.`,
  );
}

function requireHalfBytes(folder: string, tensors: readonly TensorToWrite[]): void {
  if (countOf(tensors, [quantizedNames.blocks4Bits]) > 0) return;
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected a BLIP-2 or InstructBLIP with a language model for 4 bits, got none. Leave out the 4 bits.`,
  );
}

/** Everything but the language model's head. */
function layerTensors(job: Job): readonly TensorToWrite[] {
  const tensors = [...job.regions].flatMap(([name, region]) => tensorsOf(job, name, region));
  return [...tensors, ...[...job.inputs].map(([name, input]) => inputZeroPoint(moduleOf(name), input))];
}

function tensorsOf(job: Job, name: string, region: TensorRegion): readonly TensorToWrite[] {
  if (isUnused(job.regions, name) || isReplacedHead(job.regions, name)) return [];
  const storage = storageOf(region, name);
  if (storage !== undefined) return matrixTensors(job, name, region, storage);
  return [isLanguageEmbedding(name) ? tensorIn('float16', name, region) : copiedTensor(name, region)];
}

function matrixTensors(job: Job, name: string, region: TensorRegion, storage: Storage): readonly TensorToWrite[] {
  const module = moduleOf(name);
  if (storage === 'products') return productTensors(module, region, job.inputs.get(name));
  if (storage === 'blocks') return blockTensors(module, region);
  const blockSize = blockSizeOf(region.shape[1] ?? 0, LANGUAGE_BLOCK[job.bits]);
  return (job.bits === 4 ? halfByteTensors : blockTensors)(module, region, blockSize);
}

/** Rows that are looked up: 16 bits of each weight are finer by far than what the layers behind them are rounded to. */
function isLanguageEmbedding(name: string): boolean {
  return name.startsWith('language_model.') && languageModelHeads.some(({ embeddings }) => embeddings.includes(name));
}

/** `X` of `X.weight`. */
function moduleOf(name: string): string {
  return name.slice(0, name.lastIndexOf('.'));
}

/** A head has blocks in place of its matrix. That stays where the embeddings are stored as the head's matrix alone. */
function isReplacedHead(regions: Regions, name: string): boolean {
  return languageModelHeads.some(
    ({ module, embeddings }) => name === `${module}.weight` && embeddings.some((embedding) => regions.has(embedding)),
  );
}

/** The blocks of a language model's head, whose matrix a checkpoint may store as the embeddings alone. */
function headTensors(regions: Regions): readonly TensorToWrite[] {
  return languageModelHeads.flatMap(({ module, embeddings, largestBlock }) => {
    const [name] = [`${module}.weight`, ...embeddings].filter((each) => regions.has(each));
    const region = name === undefined ? undefined : regions.get(name);
    return region === undefined ? [] : blockTensors(module, region, blockSizeOf(region.shape[1] ?? 0, largestBlock));
  });
}

/** Tensors of a language model whose bytes are no multiple of 4 lie behind the floats, which begin at one. */
function inOrder(tensors: readonly TensorToWrite[]): readonly TensorToWrite[] {
  const isLast = ({ name, lengthBytes }: TensorToWrite) => name.startsWith('language_model.') && lengthBytes % 4 !== 0;
  return [...tensors.filter((tensor) => !isLast(tensor)), ...tensors.filter(isLast)];
}

async function writeConfig(
  folder: string,
  target: string,
  { bits, calibration }: { readonly bits: LanguageModelBits; readonly calibration: Calibration | undefined },
): Promise<void> {
  const config = readJsonFile(join(folder, CONFIG));
  const quantization = {
    format: FORMAT,
    version: VERSION,
    image_activations: calibration === undefined ? 'steps by row' : 'fixed steps',
    ...(calibration === undefined ? {} : { calibration_pictures: calibration.pictureCount }),
    ...(bits === 8 ? {} : { language_model_bits: bits }),
  };
  const quantized = { ...config?.values, quantization_config: quantization };
  await writeFile(join(target, CONFIG), `${JSON.stringify(quantized, undefined, 2)}\n`);
}
