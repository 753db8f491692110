import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '../checkpoint.ts';
import { CheckpointError } from '../errors.ts';
import { readJsonFile } from '../files/json-file.ts';
import { readFloats } from '../new-checkpoint/float-tensor.ts';
import {
  copiedTensor,
  copySettings,
  totalBytes,
  type WriteOptions,
  writeNewFolder,
  writeWeights,
} from '../new-checkpoint/new-folder.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import { FORMAT, isQuantizable, partCount, quantizedNames } from '../weights/int8-format.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { openWeights } from '../weights/weights.ts';
import { type QuantizedMatrix, quantizeMatrix } from './quantize-matrix.ts';

const CONFIG = 'config.json';

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
  options: WriteOptions = {},
): Promise<QuantizedCheckpoint> {
  if (openCheckpoint(folder).isInt8) {
    throw new CheckpointError(
      'CHECKPOINT_CONFIG_INVALID',
      `${folder}: expected a checkpoint of floating point weights, got one of int8.`,
    );
  }
  const regions = [...openWeights(folder).regions];
  const tensors = regions.flatMap(([name, region]) =>
    isQuantizable(region, name) ? quantizedTensors(name, region) : [copiedTensor(name, region)],
  );
  await writeNewFolder(target, async (newFolder) => {
    await writeWeights(newFolder, tensors, options);
    await writeConfig(folder, newFolder);
    await copySettings(folder, newFolder, [CONFIG]);
  });
  return {
    matrixCount: regions.filter(([name, region]) => isQuantizable(region, name)).length,
    weightsBytes: totalBytes(tensors),
    sourceBytes: totalBytes(regions.map(([, region]) => region)),
  };
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

async function writeConfig(folder: string, target: string): Promise<void> {
  const config = readJsonFile(join(folder, CONFIG));
  const quantized = { ...config?.values, quantization_config: { format: FORMAT } };
  await writeFile(join(target, CONFIG), `${JSON.stringify(quantized, undefined, 2)}\n`);
}
