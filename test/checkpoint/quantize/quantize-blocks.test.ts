import { describe, expect, test } from 'vitest';
import { stepsOf } from '../../../checkpoint/quantize/calibration.ts';
import { blockShape, quantizeBlocks } from '../../../checkpoint/quantize/quantize-blocks.ts';
import { MAX_IN_BLOCK, MIDDLE_OF_BLOCK } from '../../../checkpoint/weights/int8-format.ts';

describe.each([
  [3, 5, [3, 1, 16]],
  [4, 64, [4, 1, 64]],
  [2, 96, [2, 3, 32]],
  [1, 300, [1, 19, 16]],
  [5, 768, [5, 3, 256]],
] as const)('[%d, %d]', (outputSize, inputSize, shape) => {
  const values = Float32Array.from(
    { length: outputSize * inputSize },
    (_, place) => Math.sin(place * 1.7) * (1 + (place % 31)),
  );
  const [, blockCount, blockSize] = shape;
  const blocks = quantizeBlocks({ values, outputSize, inputSize });

  test('has blocks as large as leave none unfilled, or the smallest', () => {
    expect(blockShape(outputSize, inputSize)).toEqual(shape);
    expect(blocks.values).toHaveLength(outputSize * blockCount * blockSize);
    expect(blocks.scale).toHaveLength(outputSize * blockCount);
  });

  test('every weight is within half a step of its own or cut off, and what fills up the last block is zero', () => {
    for (const [place, value] of blocks.values.entries()) {
      const [block, within] = [Math.floor(place / blockSize), place % blockSize];
      const input = (block % blockCount) * blockSize + within;
      const weight = input < inputSize ? (values[Math.floor(block / blockCount) * inputSize + input] ?? 0) : 0;
      const step = blocks.scale[block] ?? Number.NaN;
      const kept = Math.max(-MAX_IN_BLOCK * step, Math.min(MAX_IN_BLOCK * step, weight));
      expect(Math.abs((value - MIDDLE_OF_BLOCK) * step - kept)).toBeLessThanOrEqual(step * 0.5001);
      expect(Math.abs(kept)).toBeGreaterThanOrEqual(Math.abs(weight) * 0.69);
    }
  });

  test('the largest weight of each block takes the whole range', () => {
    for (let block = 0; block < outputSize * blockCount; block += 1) {
      const bytes = [...blocks.values.subarray(block * blockSize, (block + 1) * blockSize)];
      expect(Math.max(...bytes.map((byte) => Math.abs(byte - MIDDLE_OF_BLOCK)))).toBe(MAX_IN_BLOCK);
    }
  });
});

test('a block of zeros stays zeros', () => {
  const { values, scale } = quantizeBlocks({ values: new Float32Array(32), outputSize: 1, inputSize: 32 });
  expect(new Set(values)).toEqual(new Set([MIDDLE_OF_BLOCK]));
  expect(scale[0]).toBeGreaterThan(0);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('%s is refused', (value) => {
  const values = Float32Array.of(1, value, 3, 4);
  expect(() => quantizeBlocks({ values, outputSize: 2, inputSize: 2 })).toThrow(RangeError);
});

describe('the steps of calibrated rows', () => {
  test.each([
    [-1, 1, 127],
    [-0.17, 6, 7],
    [0, 3, 0],
    [2, 3, 0],
    [-3, -1, 255],
  ])('cover %d to %d and zero: the zero point is %d', (smallest, largest, expected) => {
    const { scale, zeroPoint } = stepsOf({ smallest, largest });
    expect(zeroPoint).toBe(expected);
    for (const value of [smallest, largest, 0]) {
      const byte = Math.round(value / scale) + zeroPoint;
      expect(byte).toBeGreaterThanOrEqual(-1);
      expect(byte).toBeLessThanOrEqual(256); // Half a step beyond is rounded to the end of the range.
    }
  });

  test('of zeros are any', () => {
    expect(stepsOf({ smallest: 0, largest: 0 }).scale).toBeGreaterThan(0);
  });
});
