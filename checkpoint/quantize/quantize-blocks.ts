import { blockSizeOf, MAX_IN_BLOCK, MIDDLE_OF_BLOCK } from '../weights/int8-format.ts';
import type { Matrix } from './quantize-matrix.ts';
import { fittingStep, rounded } from './step.ts';

export interface BlockMatrix {
  /** [out, blocks, block]; what fills up the last block of a row stands for zero. */
  readonly values: Uint8Array;
  /** [out, blocks] */
  readonly scale: Float32Array;
}

/** [out, blocks, block] of a matrix [out, in]. */
export function blockShape(
  outputSize: number,
  inputSize: number,
  blockSize: number = blockSizeOf(inputSize),
): readonly [outputSize: number, blockCount: number, blockSize: number] {
  return [outputSize, Math.ceil(inputSize / blockSize), blockSize];
}

/**
 * Rounds each block of each row of a matrix to 8 bits, in steps of its own, symmetric about zero. The largest weight of a
 * block fits: finer steps that cut it off gain nothing where so few weights share one.
 * @throws RangeError for a value that is not finite. Its message follows "expected".
 */
export function quantizeBlocks(
  { values, outputSize, inputSize }: Matrix,
  blockSize: number = blockSizeOf(inputSize),
): BlockMatrix {
  const [, blockCount] = blockShape(outputSize, inputSize, blockSize);
  const quantized = new Uint8Array(outputSize * blockCount * blockSize).fill(MIDDLE_OF_BLOCK);
  const scale = new Float32Array(outputSize * blockCount);
  for (let block = 0; block < scale.length; block += 1) {
    const output = Math.floor(block / blockCount);
    const from = output * inputSize + (block % blockCount) * blockSize;
    const to = Math.min(from + blockSize, (output + 1) * inputSize);
    const step = fittingStep(values, from, to, MAX_IN_BLOCK);
    scale[block] = step;
    const perStep = 1 / step;
    const shift = block * blockSize - from;
    for (let place = from; place < to; place += 1)
      quantized[place + shift] = MIDDLE_OF_BLOCK + rounded((values[place] ?? 0) * perStep, MAX_IN_BLOCK);
  }
  return { values: quantized, scale };
}
