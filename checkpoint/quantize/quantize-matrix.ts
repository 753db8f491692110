import { MAX_QUANTIZED } from '../weights/int8-format.ts';
import { rounded, stepOf } from './step.ts';

/** A matrix of a Linear, in PyTorch's order. */
export interface Matrix {
  /** [out, in] */
  readonly values: Float32Array;
  readonly outputSize: number;
  readonly inputSize: number;
}

export interface QuantizedMatrix {
  /** [parts, in, out / parts] */
  readonly values: Int8Array;
  /** [out] */
  readonly scale: Float32Array;
}

/** Outputs that are transposed together, so that their next inputs and their results stay in the processor's cache. */
const TILE = 64;

/**
 * Rounds each row of a matrix to int8, in steps of its own, symmetric about zero. Transposes each part.
 * @param partCount divides the outputs.
 * @throws RangeError for a value that is not finite. Its message follows "expected".
 */
export function quantizeMatrix({ values, outputSize, inputSize }: Matrix, partCount: number): QuantizedMatrix {
  const quantized = new Int8Array(values.length);
  const scale = new Float32Array(outputSize);
  const perStep = new Float64Array(outputSize);
  for (let output = 0; output < outputSize; output += 1) {
    const step = stepOf(values, output * inputSize, (output + 1) * inputSize, MAX_QUANTIZED);
    scale[output] = step;
    perStep[output] = 1 / step;
  }
  const partSize = outputSize / partCount;
  for (let first = 0; first < outputSize; first += partSize) {
    for (let from = first; from < first + partSize; from += TILE) {
      const to = Math.min(from + TILE, first + partSize);
      for (let input = 0; input < inputSize; input += 1) {
        const start = first * inputSize + input * partSize - first;
        for (let output = from; output < to; output += 1) {
          const steps = (values[output * inputSize + input] ?? 0) * (perStep[output] ?? 1);
          quantized[start + output] = rounded(steps, MAX_QUANTIZED);
        }
      }
    }
  }
  return { values: quantized, scale };
}
