import { describe, expect, test } from 'vitest';
import { quantizeHalfBytes } from '../../../checkpoint/quantize/quantize-half-bytes.ts';

/** The number and the zero point that a weight was given. */
function halfAt(bytes: Uint8Array, place: number): number {
  const byte = bytes[Math.floor(place / 2)] ?? Number.NaN;
  return place % 2 === 0 ? byte & 15 : byte >> 4;
}

describe.each([
  [3, 5, 16],
  [4, 64, 32],
  [2, 96, 32],
  [1, 300, 16],
  [5, 44, 32],
] as const)('[%d, %d] in blocks of %d', (outputSize, inputSize, blockSize) => {
  // Lopsided, so that a range about zero would waste numbers.
  const values = Float32Array.from(
    { length: outputSize * inputSize },
    (_, place) => (Math.sin(place * 1.7) + 0.4) * (1 + (place % 31)),
  );
  const blockCount = Math.ceil(inputSize / blockSize);
  const zeroPointBytes = Math.ceil(blockCount / 2);
  const half = quantizeHalfBytes({ values, outputSize, inputSize }, blockSize);

  test('has the sizes that the runtime asks for', () => {
    expect(half.values).toHaveLength((outputSize * blockCount * blockSize) / 2);
    expect(half.scale).toHaveLength(outputSize * blockCount);
    expect(half.zeroPoint).toHaveLength(outputSize * zeroPointBytes);
  });

  test('every weight is within half a step of its own or cut off, and what fills up the last block is zero', () => {
    for (let place = 0; place < outputSize * blockCount * blockSize; place += 1) {
      const [block, within] = [Math.floor(place / blockSize), place % blockSize];
      const [output, index] = [Math.floor(block / blockCount), block % blockCount];
      const input = index * blockSize + within;
      const weight = input < inputSize ? (values[output * inputSize + input] ?? 0) : 0;
      const zeroPoint = halfAt(half.zeroPoint, output * zeroPointBytes * 2 + index);
      const step = half.scale[block] ?? Number.NaN;
      const kept = Math.max(-zeroPoint * step, Math.min((15 - zeroPoint) * step, weight));
      expect(Math.abs((halfAt(half.values, place) - zeroPoint) * step - kept)).toBeLessThanOrEqual(step * 0.5001);
    }
  });

  test('loses less than in a range about zero', () => {
    let [squared, symmetric] = [0, 0];
    for (const [place, weight] of values.entries()) {
      const [output, input] = [Math.floor(place / inputSize), place % inputSize];
      const [index, within] = [Math.floor(input / blockSize), input % blockSize];
      const block = output * blockCount + index;
      const number = halfAt(half.values, block * blockSize + within);
      const zeroPoint = halfAt(half.zeroPoint, output * zeroPointBytes * 2 + index);
      squared += ((number - zeroPoint) * (half.scale[block] ?? Number.NaN) - weight) ** 2;
      const from = output * inputSize + index * blockSize;
      const inBlock = values.subarray(from, Math.min(from + blockSize, (output + 1) * inputSize));
      const step = Math.max(...inBlock.map(Math.abs)) / 7;
      symmetric += (Math.round(weight / step) * step - weight) ** 2;
    }
    expect(squared).toBeLessThan(symmetric * 0.8);
  });
});

test('weights of one sign keep zero, and zeros stay zeros', () => {
  const values = Float32Array.of(...new Array<number>(16).fill(3), ...new Array<number>(16).fill(0));
  const { values: numbers, scale, zeroPoint } = quantizeHalfBytes({ values, outputSize: 2, inputSize: 16 }, 16);
  expect([...zeroPoint]).toEqual([0, 0]);
  expect(15 * (scale[0] ?? 0)).toBeCloseTo(3, 5);
  expect(new Set(numbers.subarray(0, 8))).toEqual(new Set([0xff]));
  expect(new Set(numbers.subarray(8))).toEqual(new Set([0]));
  expect(scale[1]).toBeGreaterThan(0);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%s is refused', (value) => {
  const values = Float32Array.of(1, value, 3, 4);
  expect(() => quantizeHalfBytes({ values, outputSize: 2, inputSize: 2 }, 16)).toThrow(RangeError);
});
