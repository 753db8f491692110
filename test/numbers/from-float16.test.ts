import { expect, test } from 'vitest';
import { fromFloat16 } from '../../numbers/from-float16.ts';

const patterns = Array.from({ length: 2 ** 16 }, (_, bits) => bits);

/**
 * The float32 of equal value, put together bit by bit and read by DataView: exponent and fraction are moved to their
 * places in a float32. A subnormal has no leading one, so the float32 of the exponent alone is taken off again.
 */
function widenedByBits(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  const float32 = (value: number) => {
    view.setUint32(0, value);
    return view.getFloat32(0);
  };
  const sign = (bits & 0x8000) * 2 ** 16;
  const exponent = (bits & 0x7c00) >> 10;
  const fraction = (bits & 0x3ff) << 13;
  if (exponent === 0x1f) return float32(sign + 0x7f800000 + fraction);
  if (exponent > 0) return float32(sign + ((exponent + 112) << 23) + fraction);
  const magnitude = float32((113 << 23) + fraction) - float32(113 << 23);
  return sign === 0 ? magnitude : -magnitude;
}

test('each of the 65,536 patterns is the number that its float32 is', () => {
  const different = patterns.filter((bits) => !Object.is(fromFloat16(bits), widenedByBits(bits)));
  expect(different).toEqual([]);
});

test('patterns rise with their numbers on either side of zero, and each number is its own', () => {
  const positive = patterns.slice(0, 0x7c01).map(fromFloat16);
  expect(positive.every((value, index) => index === 0 || value > (positive[index - 1] ?? Number.NaN))).toBe(true);
  const negative = patterns.slice(0x8000, 0xfc01).map(fromFloat16);
  expect(negative).toEqual(positive.map((value) => -value));
});

test.each([
  [0x3c00, 1],
  [0xc000, -2],
  [0x3555, 0.333251953125],
  [0x7bff, 65_504],
  [0x0400, 2 ** -14],
  [0x03ff, 1023 * 2 ** -24],
  [0x0001, 2 ** -24],
  [0x8000, -0],
  [0x7c00, Number.POSITIVE_INFINITY],
  [0xfc00, Number.NEGATIVE_INFINITY],
  [0x7c01, Number.NaN],
  [0xffff, Number.NaN],
])('%i is %d (IEEE 754-2019, table 3.5)', (bits, value) => {
  expect(fromFloat16(bits)).toBe(value);
});
