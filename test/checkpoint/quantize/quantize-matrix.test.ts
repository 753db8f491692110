import { describe, expect, test } from 'vitest';
import { quantizeMatrix } from '../../../checkpoint/quantize/quantize-matrix.ts';
import { MAX_QUANTIZED } from '../../../checkpoint/weights/int8-format.ts';

/** A matrix whose rows differ in size, and whose size is no multiple of the tiles it is made in. */
function matrix(outputSize: number, inputSize: number) {
  const values = Float32Array.from(
    { length: outputSize * inputSize },
    (_, place) => Math.sin(place * 1.7) * (1 + Math.floor(place / inputSize)),
  );
  return { values, outputSize, inputSize };
}

describe.each([
  [1, 3, 5],
  [1, 64, 16],
  [1, 130, 7],
  [3, 9, 4],
  [3, 210, 5],
])('in %d parts, [%d, %d]', (partCount, outputSize, inputSize) => {
  const source = matrix(outputSize, inputSize);
  const { values, scale } = quantizeMatrix(source, partCount);
  const partSize = outputSize / partCount;

  test('every weight is within half a step of its own or cut off, where the form says it lies', () => {
    for (let output = 0; output < outputSize; output += 1) {
      for (let input = 0; input < inputSize; input += 1) {
        const part = Math.floor(output / partSize);
        const quantized = values[part * partSize * inputSize + input * partSize + (output % partSize)] ?? Number.NaN;
        const step = scale[output] ?? Number.NaN;
        const weight = source.values[output * inputSize + input] ?? Number.NaN;
        const kept = Math.max(-MAX_QUANTIZED * step, Math.min(MAX_QUANTIZED * step, weight));
        expect(Math.abs(quantized * step - kept)).toBeLessThanOrEqual(step * 0.5001);
        expect(Math.abs(kept)).toBeGreaterThanOrEqual(Math.abs(weight) * 0.69);
      }
    }
  });

  test('the largest weight of each row takes the whole range', () => {
    for (let output = 0; output < outputSize; output += 1) {
      const start = Math.floor(output / partSize) * partSize * inputSize + (output % partSize);
      const row = Array.from({ length: inputSize }, (_, input) => Math.abs(values[start + input * partSize] ?? 0));
      expect(Math.max(...row)).toBe(MAX_QUANTIZED);
    }
  });
});

test('a row of zeros stays zeros', () => {
  const values = Float32Array.of(0, 0, 1, -2);
  const quantized = quantizeMatrix({ values, outputSize: 2, inputSize: 2 }, 1);
  expect([...quantized.values]).toEqual([0, MAX_QUANTIZED / 2, 0, -MAX_QUANTIZED]);
  expect(quantized.scale[0]).toBeGreaterThan(0);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%s is refused', (value) => {
  const values = Float32Array.of(1, value, 3, 4);
  expect(() => quantizeMatrix({ values, outputSize: 2, inputSize: 2 }, 1)).toThrow(RangeError);
});

test('two products of the largest numbers fit into the 16 bits that older processors add them up in', () => {
  expect(2 * 255 * MAX_QUANTIZED).toBeLessThanOrEqual(2 ** 15 - 1);
});
