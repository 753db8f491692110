import { blockShape } from './quantize-blocks.ts';
import type { Matrix } from './quantize-matrix.ts';
import { nearestWhole, notFinite } from './step.ts';

/** A matrix in blocks of 4 bits. Bytes hold two numbers, the first in the lower half. */
export interface HalfByteMatrix {
  /** [out, blocks, block / 2]; what fills up the last block of a row stands for zero. */
  readonly values: Uint8Array;
  /** [out, blocks] */
  readonly scale: Float32Array;
  /** [out, ceil(blocks / 2)] */
  readonly zeroPoint: Uint8Array;
}

/** The largest of the 16 numbers that half a byte holds. */
const LARGEST = 15;

/**
 * Steps that are tried, as parts of the one in which the whole range just fits. They lie close, because any other places
 * the weights of a block otherwise between two numbers.
 */
const PARTS = [1, 0.96, 0.92, 0.88] as const;

/** How one block is rounded: value = (number - zeroPoint) * scale. */
interface BlockSteps {
  scale: number;
  zeroPoint: number;
}

/**
 * Rounds each block of each row of a matrix to 4 bits. Each has a step and a zero point of its own, because with 16 numbers
 * it pays to spend them between a block's smallest and largest weight: the error is a tenth to a fifth smaller than with a
 * range symmetric about zero (docs/decisions/0038-quantized-language-models.md).
 * @throws RangeError for a value that is not finite. Its message follows "expected".
 */
export function quantizeHalfBytes({ values, outputSize, inputSize }: Matrix, blockSize: number): HalfByteMatrix {
  const [, blockCount] = blockShape(outputSize, inputSize, blockSize);
  const blockBytes = blockSize / 2;
  const rowBytes = Math.ceil(blockCount / 2);
  const quantized = new Uint8Array(outputSize * blockCount * blockBytes);
  const scale = new Float32Array(outputSize * blockCount);
  const zeroPoint = new Uint8Array(outputSize * rowBytes);
  const steps: BlockSteps = { scale: 1, zeroPoint: 0 };
  for (let block = 0; block < scale.length; block += 1) {
    const output = Math.floor(block / blockCount);
    const index = block % blockCount;
    const from = output * inputSize + index * blockSize;
    const to = Math.min(from + blockSize, (output + 1) * inputSize);
    findSteps(values, from, to, steps);
    scale[block] = steps.scale;
    setHalf(zeroPoint, output * rowBytes * 2 + index, steps.zeroPoint);
    writeBlock(values, from, to, steps, quantized.subarray(block * blockBytes, (block + 1) * blockBytes));
  }
  return { values: quantized, scale, zeroPoint };
}

/** The first half of a byte is the lower one. Both are zero before. */
function setHalf(bytes: Uint8Array, place: number, value: number): void {
  const index = place >> 1;
  bytes[index] = (bytes[index] ?? 0) | (value << (4 * (place & 1)));
}

/** Finds the steps in which a block loses least. */
function findSteps(values: Float32Array, from: number, to: number, best: BlockSteps): void {
  let smallest = 0;
  let largest = 0;
  for (let place = from; place < to; place += 1) {
    smallest = Math.min(smallest, values[place] ?? 0);
    largest = Math.max(largest, values[place] ?? 0);
  }
  if (!Number.isFinite(largest - smallest)) throw notFinite(largest - smallest);
  let leastError = Number.POSITIVE_INFINITY;
  best.scale = 1;
  best.zeroPoint = 0;
  for (const part of PARTS) {
    const scale = Math.fround(((largest - smallest) * part) / LARGEST);
    if (scale === 0) continue;
    const zeroPoint = inHalfByte((LARGEST - (largest + smallest) / scale) / 2);
    const error = squaredError(values, from, to, scale, zeroPoint);
    if (error >= leastError) continue;
    leastError = error;
    best.scale = scale;
    best.zeroPoint = zeroPoint;
  }
}

function squaredError(values: Float32Array, from: number, to: number, scale: number, zeroPoint: number): number {
  const perStep = 1 / scale;
  let sum = 0;
  for (let place = from; place < to; place += 1) {
    const value = values[place] ?? 0;
    const difference = value - (inHalfByte(value * perStep + zeroPoint) - zeroPoint) * scale;
    sum += difference * difference;
  }
  return sum;
}

/** The nearest number that half a byte holds. */
function inHalfByte(value: number): number {
  const whole = nearestWhole(value);
  if (whole < 0) return 0;
  return whole > LARGEST ? LARGEST : whole;
}

function writeBlock(values: Float32Array, from: number, to: number, steps: BlockSteps, bytes: Uint8Array): void {
  const { scale, zeroPoint } = steps;
  const perStep = 1 / scale;
  bytes.fill(zeroPoint * 17);
  for (let place = from; place < to; place += 1) {
    const number = inHalfByte((values[place] ?? 0) * perStep + zeroPoint);
    const index = (place - from) >> 1;
    const other = bytes[index] ?? 0;
    bytes[index] = ((place - from) & 1) === 0 ? (other & 0xf0) | number : (other & 0x0f) | (number << 4);
  }
}
