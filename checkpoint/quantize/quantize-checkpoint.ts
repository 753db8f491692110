import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { openCheckpoint } from '../checkpoint.ts';
import { CheckpointError } from '../errors.ts';
import { readBytes, withFile } from '../files/binary-file.ts';
import { readJsonFile } from '../files/json-file.ts';
import { hasRegularFile } from '../files/regular-file.ts';
import { settingsFiles } from '../files/settings-files.ts';
import { FORMAT, isQuantizable, partCount, quantizedNames } from '../weights/int8-format.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { openWeights } from '../weights/weights.ts';
import { readFloats } from './float-tensor.ts';
import { type QuantizedMatrix, quantizeMatrix } from './quantize-matrix.ts';
import { type TensorToWrite, writeSafetensors } from './write-safetensors.ts';

const CONFIG = 'config.json';
const WEIGHTS = 'model.safetensors';

export interface QuantizeOptions {
  /** Called after each tensor. */
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void;
  /** Ends the work between two tensors. No file is left. */
  readonly signal?: AbortSignal;
}

/** The result in numbers. */
export interface QuantizedCheckpoint {
  readonly matrixCount: number;
  readonly weightsBytes: number;
  readonly sourceBytes: number;
}

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
  if (openCheckpoint(folder).isInt8) {
    throw new CheckpointError(
      'CHECKPOINT_CONFIG_INVALID',
      `${folder}: expected a checkpoint of floating point weights, got one of int8.`,
    );
  }
  const finalFolder = resolve(target);
  const unfinishedFolder = join(dirname(finalFolder), `.${basename(finalFolder)}.${randomUUID()}`);
  await mkdir(unfinishedFolder, { recursive: true });
  try {
    const quantized = await writeWeights(folder, join(unfinishedFolder, WEIGHTS), options);
    await copySettings(folder, unfinishedFolder);
    await rename(unfinishedFolder, finalFolder);
    return quantized;
  } catch (error) {
    await rm(unfinishedFolder, { recursive: true, force: true });
    throw error;
  }
}

async function writeWeights(
  folder: string,
  path: string,
  { onProgress, signal }: QuantizeOptions,
): Promise<QuantizedCheckpoint> {
  const regions = [...openWeights(folder).regions];
  const tensors = regions.flatMap(([name, region]) =>
    isQuantizable(region, name) ? quantizedTensors(name, region) : [copiedTensor(name, region)],
  );
  const weightsBytes = totalBytes(tensors);
  let writtenBytes = 0;
  await writeSafetensors(path, tensors, ({ lengthBytes }) => {
    signal?.throwIfAborted();
    writtenBytes += lengthBytes;
    onProgress?.(writtenBytes, weightsBytes);
  });
  const matrixCount = regions.filter(([name, region]) => isQuantizable(region, name)).length;
  return { matrixCount, weightsBytes, sourceBytes: totalBytes(regions.map(([, region]) => region)) };
}

function totalBytes(tensors: readonly { readonly lengthBytes: number }[]): number {
  return tensors.reduce((total, { lengthBytes }) => total + lengthBytes, 0);
}

function copiedTensor(name: string, { dtype, shape, path, offsetBytes, lengthBytes }: TensorRegion): TensorToWrite {
  const read = () => withFile(path, (file) => readBytes(file, offsetBytes, lengthBytes));
  return { name, dtype, shape, lengthBytes, read };
}

/** Two tensors of one matrix, which is quantized when the first is read, and dropped when the second is. */
function quantizedTensors(name: string, region: TensorRegion): readonly TensorToWrite[] {
  const module = name.slice(0, -'.weight'.length);
  const [outputSize = 0, inputSize = 0] = region.shape;
  const parts = partCount(module);
  requireParts(region, parts);
  let matrix: QuantizedMatrix | undefined;
  const quantized = () => {
    matrix ??= quantizeRegion(region, parts);
    return matrix;
  };
  return [
    {
      name: `${module}.${quantizedNames.scale}`,
      dtype: 'F32',
      shape: [outputSize],
      lengthBytes: outputSize * Float32Array.BYTES_PER_ELEMENT,
      read: () => new Uint8Array(quantized().scale.buffer),
    },
    {
      name: `${module}.${quantizedNames.values}`,
      dtype: 'I8',
      shape: [parts, inputSize, outputSize / parts],
      lengthBytes: outputSize * inputSize,
      read: () => {
        const { values } = quantized();
        matrix = undefined; // A model has hundreds.
        return new Uint8Array(values.buffer);
      },
    },
  ];
}

/** @throws CheckpointError naming the tensor, when a weight is not finite. */
function quantizeRegion(region: TensorRegion, parts: number): QuantizedMatrix {
  const [outputSize = 0, inputSize = 0] = region.shape;
  try {
    return quantizeMatrix({ values: readFloats(region), outputSize, inputSize }, parts);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const message = `${region.path}: tensor ${region.name}: expected ${cause.message}.`;
    throw new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', message, { cause });
  }
}

function requireParts(region: TensorRegion, parts: number): void {
  const [outputSize = 0] = region.shape;
  if (outputSize % parts === 0) return;
  const expected = `${region.path}: tensor ${region.name}: expected rows that are a multiple of ${parts}`;
  throw new CheckpointError('CHECKPOINT_TENSOR_MISMATCH', `${expected}, got ${outputSize}.`);
}

async function copySettings(folder: string, target: string): Promise<void> {
  const config = readJsonFile(join(folder, CONFIG));
  const quantized = { ...config?.values, quantization_config: { format: FORMAT } };
  await writeFile(join(target, CONFIG), `${JSON.stringify(quantized, undefined, 2)}\n`);
  for (const file of settingsFiles) {
    if (file !== CONFIG && hasRegularFile(join(folder, file))) await copyFile(join(folder, file), join(target, file));
  }
}
