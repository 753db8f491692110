import { CheckpointError } from '../errors.ts';
import { bandsOf } from '../new-checkpoint/bands.ts';
import { readFloats } from '../new-checkpoint/float-tensor.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import { blockSizeOf, partCount, quantizedNames } from '../weights/int8-format.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { type CalibratedInput, stepsOf } from './calibration.ts';
import { blockShape, quantizeBlocks } from './quantize-blocks.ts';
import { quantizeHalfBytes } from './quantize-half-bytes.ts';
import { type Matrix, quantizeMatrix } from './quantize-matrix.ts';

/** The tensors of an int8 checkpoint that are made of one tensor of its source. */

/** A matrix for products of integers, and the steps of its inputs where they were calibrated. */
export function productTensors(
  module: string,
  region: TensorRegion,
  input: CalibratedInput | undefined,
): readonly TensorToWrite[] {
  const [outputSize = 0, inputSize = 0] = region.shape;
  const parts = partCount(module);
  requireParts(region, parts);
  const quantize = () => {
    const { scale, values } = quantizeMatrix(matrixOf(region), parts);
    return [bytesOf(scale), bytesOf(values)];
  };
  const tensors = tensorsOfMatrix(region, quantize, [
    { name: `${module}.${quantizedNames.scale}`, dtype: 'F32', shape: [outputSize] },
    {
      name: `${module}.${quantizedNames.values}`,
      dtype: 'I8',
      shape: [parts, inputSize, outputSize / parts],
    },
  ]);
  return input === undefined ? tensors : [...tensors, inputScale(module, input)];
}

function inputScale(module: string, input: CalibratedInput): TensorToWrite {
  const bytes = bytesOf(Float32Array.of(stepsOf(input).scale));
  return tensor(`${module}.${quantizedNames.inputScale}`, 'F32', bytes);
}

/** Each is one byte, so they lie behind all floats, which then begin at multiples of four. */
export function inputZeroPoint(module: string, input: CalibratedInput): TensorToWrite {
  return tensor(`${module}.${quantizedNames.inputZeroPoint}`, 'U8', Uint8Array.of(stepsOf(input).zeroPoint));
}

function tensor(name: string, dtype: 'F32' | 'U8', bytes: Uint8Array): TensorToWrite {
  return { name, dtype, shape: [], lengthBytes: bytes.length, read: () => bytes };
}

/** A matrix in blocks of 8 bits. */
export function blockTensors(
  module: string,
  region: TensorRegion,
  blockSize: number = blockSizeOf(region.shape[1] ?? 0),
): readonly TensorToWrite[] {
  const [outputSize = 0, inputSize = 0] = region.shape;
  const shape = blockShape(outputSize, inputSize, blockSize);
  const quantize = () =>
    inBands(region, (band) => {
      const { scale, values } = quantizeBlocks(band, blockSize);
      return [bytesOf(scale), values];
    });
  return tensorsOfMatrix(region, quantize, [
    { name: `${module}.${quantizedNames.blockScale}`, dtype: 'F32', shape: shape.slice(0, 2) },
    { name: `${module}.${quantizedNames.blocks}`, dtype: 'U8', shape },
  ]);
}

/** A matrix in blocks of 4 bits. */
export function halfByteTensors(module: string, region: TensorRegion, blockSize: number): readonly TensorToWrite[] {
  const [outputSize = 0, inputSize = 0] = region.shape;
  const [, blockCount] = blockShape(outputSize, inputSize, blockSize);
  const quantize = () =>
    inBands(region, (band) => {
      const { scale, values, zeroPoint } = quantizeHalfBytes(band, blockSize);
      return [bytesOf(scale), values, zeroPoint];
    });
  return tensorsOfMatrix(region, quantize, [
    { name: `${module}.${quantizedNames.blockScale}`, dtype: 'F32', shape: [outputSize, blockCount] },
    { name: `${module}.${quantizedNames.blocks4Bits}`, dtype: 'U8', shape: [outputSize, blockCount, blockSize / 2] },
    {
      name: `${module}.${quantizedNames.blockZeroPoint}`,
      dtype: 'U8',
      shape: [outputSize, Math.ceil(blockCount / 2)],
    },
  ]);
}

function matrixOf(region: TensorRegion): Matrix {
  const [outputSize = 0, inputSize = 0] = region.shape;
  return { values: readFloats(region), outputSize, inputSize };
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Int8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * Quantizes a matrix some rows at a time.
 * @param quantize gives the bytes of the same tensors for each band.
 * @returns the bytes of the whole tensors.
 */
function inBands(region: TensorRegion, quantize: (band: Matrix) => readonly Uint8Array[]): readonly Uint8Array[] {
  const bands = bandsOf(region).map((band) => quantize(matrixOf(band)));
  const [first = []] = bands;
  return first.map((_, index) => Buffer.concat(bands.map((band) => band[index] ?? new Uint8Array())));
}

interface Described {
  readonly name: string;
  readonly dtype: 'F32' | 'I8' | 'U8';
  readonly shape: readonly number[];
}

/**
 * The tensors of one matrix, which is quantized when the first is read.
 * @param quantize gives their bytes. Those of each are dropped when it is read, because a model has hundreds.
 */
function tensorsOfMatrix(
  region: TensorRegion,
  quantize: () => readonly Uint8Array[],
  tensors: readonly Described[],
): readonly TensorToWrite[] {
  const unread = new Map<string, Uint8Array>();
  const quantizeOnce = () => {
    const all = namingTheTensor(region, quantize);
    for (const [index, { name }] of tensors.entries()) unread.set(name, all[index] ?? new Uint8Array());
  };
  return tensors.map((described) => ({
    ...described,
    lengthBytes: lengthOf(described),
    read: () => {
      if (described === tensors[0]) quantizeOnce();
      const bytes = unread.get(described.name) ?? new Uint8Array();
      unread.delete(described.name);
      return bytes;
    },
  }));
}

function lengthOf({ dtype, shape }: Described): number {
  const elementBytes = dtype === 'F32' ? Float32Array.BYTES_PER_ELEMENT : 1;
  return shape.reduce((product, size) => product * size, elementBytes);
}

/** @throws CheckpointError naming the tensor, when a weight is not finite. */
function namingTheTensor<T>(region: TensorRegion, quantize: () => T): T {
  try {
    return quantize();
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
