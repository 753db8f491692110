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
import { FORMAT, languageModelHead, storageOf, VERSION } from '../weights/int8-format.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { openWeights } from '../weights/weights.ts';
import type { CalibratedInput, Calibration } from './calibration.ts';
import { blockTensors, inputZeroPoint, productTensors } from './quantized-tensors.ts';

const CONFIG = 'config.json';

export interface QuantizeOptions extends WriteOptions {
  /** How rows look that the image tower reads, by pictures. Without it each row has steps of its own. */
  readonly calibration?: Calibration;
}

/** The result in numbers. */
export interface QuantizedCheckpoint {
  readonly matrixCount: number;
  readonly weightsBytes: number;
  readonly sourceBytes: number;
}

type Regions = ReadonlyMap<string, TensorRegion>;

/**
 * Makes an int8 checkpoint from one in Hugging Face layout. The new folder appears only when it is whole.
 * @param target a folder that does not exist yet, or is empty.
 * @throws CheckpointError when the source's config.json or weights cannot be read, a matrix has weights that are not
 *   finite, or it is int8 already; the reason of `signal`; errors of the file system.
 */
export async function quantizeCheckpoint(
  folder: string,
  target: string,
  options: QuantizeOptions = {},
): Promise<QuantizedCheckpoint> {
  requireFloats(folder);
  const { regions } = openWeights(folder);
  const head = headOf(regions);
  const tensors = [...layerTensors(regions, options.calibration), ...(head?.tensors ?? [])];
  await writeNewFolder(target, async (newFolder) => {
    await writeWeights(newFolder, tensors, options);
    await writeConfig(folder, newFolder, options.calibration);
    await copySettings(folder, newFolder, [CONFIG]);
  });
  const layerCount = [...regions].filter(([name, region]) => storageOf(region, name) !== undefined).length;
  return {
    matrixCount: layerCount + (head === undefined ? 0 : 1),
    weightsBytes: totalBytes(tensors),
    sourceBytes: totalBytes([...regions.values()]),
  };
}

/** @throws CheckpointError when the folder cannot be read or is int8 already. */
export function requireFloats(folder: string): void {
  if (!openCheckpoint(folder).isInt8) return;
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected a checkpoint of floating point weights, got one of int8.`,
  );
}

/** Everything but the language model's head, with the tensors of single bytes at the end. */
function layerTensors(regions: Regions, calibration: Calibration | undefined): readonly TensorToWrite[] {
  const inputs = new Map(calibration?.inputs.flatMap((input) => input.matrices.map((name) => [name, input])));
  const tensors = [...regions].flatMap(([name, region]) => tensorsOf(regions, name, region, inputs.get(name)));
  const zeroPoints = [...inputs].map(([name, input]) => inputZeroPoint(moduleOf(name), input));
  return [...tensors, ...zeroPoints];
}

function tensorsOf(
  regions: Regions,
  name: string,
  region: TensorRegion,
  input: CalibratedInput | undefined,
): readonly TensorToWrite[] {
  if (isReplacedHead(regions, name)) return [];
  const module = moduleOf(name);
  const storage = storageOf(region, name);
  if (storage === 'blocks') return blockTensors(module, region);
  if (storage === 'products') return productTensors(module, region, input);
  return [copiedTensor(name, region)];
}

/** `X` of `X.weight`. */
function moduleOf(name: string): string {
  return name.slice(0, name.lastIndexOf('.'));
}

/** The head has blocks in place of its matrix. That stays where the embeddings are stored as the head's matrix alone. */
function isReplacedHead(regions: Regions, name: string): boolean {
  return name === `${languageModelHead.module}.weight` && regions.has(languageModelHead.embeddings);
}

/** The blocks of a language model's head, whose matrix a checkpoint may store as the embeddings alone. */
function headOf(regions: Regions): { readonly tensors: readonly TensorToWrite[] } | undefined {
  const { module, embeddings } = languageModelHead;
  const region = regions.get(`${module}.weight`) ?? regions.get(embeddings);
  return region === undefined ? undefined : { tensors: blockTensors(module, region) };
}

async function writeConfig(folder: string, target: string, calibration: Calibration | undefined): Promise<void> {
  const config = readJsonFile(join(folder, CONFIG));
  const quantization = {
    format: FORMAT,
    version: VERSION,
    image_activations: calibration === undefined ? 'steps by row' : 'fixed steps',
    ...(calibration === undefined ? {} : { calibration_pictures: calibration.pictureCount }),
  };
  const quantized = { ...config?.values, quantization_config: quantization };
  await writeFile(join(target, CONFIG), `${JSON.stringify(quantized, undefined, 2)}\n`);
}
