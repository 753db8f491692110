import { CheckpointError } from '../errors.ts';
import { readFloats } from '../new-checkpoint/float-tensor.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import { partCount, quantizedNames } from '../weights/int8-format.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { type CalibratedInput, stepsOf } from './calibration.ts';
import { blockShape, quantizeBlocks } from './quantize-blocks.ts';
import { type Matrix, quantizeMatrix } from './quantize-matrix.ts';

/** The tensors of an int8 checkpoint that are made of one tensor of its source. */

const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT;

/** A matrix for products of integers, and the steps of its inputs where they were calibrated. */
export function productTensors(
  module: string,
  region: TensorRegion,
  input: CalibratedInput | undefined,
): readonly TensorToWrite[] {
  const [outputSize = 0, inputSize = 0] = region.shape;
  const parts = partCount(module);
  requireParts(region, parts);
  const quantize = () => quantizeMatrix(matrixOf(region), parts);
  const pair = pairOfTensors(region, quantize, {
    scale: { name: `${module}.${quantizedNames.scale}`, shape: [outputSize] },
    values: {
      name: `${module}.${quantizedNames.values}`,
      dtype: 'I8',
      shape: [parts, inputSize, outputSize / parts],
    },
  });
  return input === undefined ? pair : [...pair, inputScale(module, input)];
}

function inputScale(module: string, input: CalibratedInput): TensorToWrite {
  const bytes = new Uint8Array(Float32Array.of(stepsOf(input).scale).buffer);
  return tensor(`${module}.${quantizedNames.inputScale}`, 'F32', bytes);
}

/** Each is one byte, so they lie behind all floats, which then begin at multiples of four. */
export function inputZeroPoint(module: string, input: CalibratedInput): TensorToWrite {
  return tensor(`${module}.${quantizedNames.inputZeroPoint}`, 'U8', Uint8Array.of(stepsOf(input).zeroPoint));
}

function tensor(name: string, dtype: 'F32' | 'U8', bytes: Uint8Array): TensorToWrite {
  return { name, dtype, shape: [], lengthBytes: bytes.length, read: () => bytes };
}

/** A matrix in blocks. */
export function blockTensors(module: string, region: TensorRegion): readonly TensorToWrite[] {
  const [outputSize = 0, inputSize = 0] = region.shape;
  const shape = blockShape(outputSize, inputSize);
  return pairOfTensors(region, () => quantizeBlocks(matrixOf(region)), {
    scale: { name: `${module}.${quantizedNames.blockScale}`, shape: shape.slice(0, 2) },
    values: { name: `${module}.${quantizedNames.blocks}`, dtype: 'U8', shape },
  });
}

function matrixOf(region: TensorRegion): Matrix {
  const [outputSize = 0, inputSize = 0] = region.shape;
  return { values: readFloats(region), outputSize, inputSize };
}

/** Two tensors of one matrix, which is quantized when the first is read, and dropped when the second is. */
function pairOfTensors(
  region: TensorRegion,
  quantize: () => { readonly values: Int8Array | Uint8Array; readonly scale: Float32Array },
  { scale, values }: { readonly scale: Described; readonly values: Described & { readonly dtype: 'I8' | 'U8' } },
): readonly TensorToWrite[] {
  let matrix: ReturnType<typeof quantize> | undefined;
  const quantized = () => {
    matrix ??= namingTheTensor(region, quantize);
    return matrix;
  };
  return [
    {
      ...scale,
      dtype: 'F32',
      lengthBytes: count(scale) * FLOAT_BYTES,
      read: () => new Uint8Array(quantized().scale.buffer),
    },
    {
      ...values,
      lengthBytes: count(values),
      read: () => {
        const bytes = new Uint8Array(quantized().values.buffer);
        matrix = undefined; // A model has hundreds.
        return bytes;
      },
    },
  ];
}

interface Described {
  readonly name: string;
  readonly shape: readonly number[];
}

function count({ shape }: Described): number {
  return shape.reduce((product, size) => product * size, 1);
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
