import { blockSizeOf, MAX_IN_BLOCK, MIDDLE_OF_BLOCK } from '../weights/int8-format.ts';
import type { Matrix } from './quantize-matrix.ts';
import { rounded, stepOf } from './step.ts';

export interface BlockMatrix {
  /** [out, blocks, block]; what fills up the last block of a row stands for zero. */
  readonly values: Uint8Array;
  /** [out, blocks] */
  readonly scale: Float32Array;
}

/** [out, blocks, block] of a matrix [out, in]. */
export function blockShape(outputSize: number, inputSize: number): readonly [number, number, number] {
  const blockSize = blockSizeOf(inputSize);
  return [outputSize, Math.ceil(inputSize / blockSize), blockSize];
}

/**
 * Rounds each block of each row of a matrix to 8 bits, in steps of its own, symmetric about zero.
 * @throws RangeError for a value that is not finite. Its message follows "expected".
 */
export function quantizeBlocks({ values, outputSize, inputSize }: Matrix): BlockMatrix {
  const [, blockCount, blockSize] = blockShape(outputSize, inputSize);
  const quantized = new Uint8Array(outputSize * blockCount * blockSize).fill(MIDDLE_OF_BLOCK);
  const scale = new Float32Array(outputSize * blockCount);
  for (let block = 0; block < scale.length; block += 1) {
    const output = Math.floor(block / blockCount);
    const from = (block % blockCount) * blockSize;
    const row = output * inputSize;
    const weights = values.subarray(row + from, row + Math.min(from + blockSize, inputSize));
    const step = stepOf(weights, MAX_IN_BLOCK);
    scale[block] = step;
    for (let index = 0; index < weights.length; index += 1)
      quantized[block * blockSize + index] = MIDDLE_OF_BLOCK + rounded(weights[index] ?? 0, step, MAX_IN_BLOCK);
  }
  return { values: quantized, scale };
}
