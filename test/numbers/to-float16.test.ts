import { describe, expect, test } from 'vitest';
import { toFloat16Bits } from '../../numbers/to-float16.ts';

/** The value of float16 bits, by the definition of the format. */
function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 0x1f, bits & 0x3ff];
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const finiteBits = Array.from({ length: 0x7c00 }, (_, bits) => bits);

describe('float16 bits', () => {
  test.each([
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65_504, 0x7bff],
    [-65_504, 0xfbff],
    [1.702, 0x3ecf],
    [0.1, 0x2e66],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [Number.POSITIVE_INFINITY, 0x7c00],
    [Number.NEGATIVE_INFINITY, 0xfc00],
    [Number.NaN, 0x7e00],
  ])('of %d', (value, bits) => {
    expect(toFloat16Bits(value)).toBe(bits);
  });

  test('of every float16 are its own', () => {
    expect(finiteBits.filter((bits) => toFloat16Bits(float16Value(bits)) !== bits)).toEqual([]);
    expect(finiteBits.filter((bits) => toFloat16Bits(-float16Value(bits)) !== (bits | 0x8000))).toEqual([]);
  });

  test('halfway between two neighbours are those of the even one, and to either side those of the nearer', () => {
    const wrong = finiteBits.slice(0, -1).filter((bits) => {
      const middle = (float16Value(bits) + float16Value(bits + 1)) / 2;
      const [below, above] = [middle * (1 - 2 ** -40), middle * (1 + 2 ** -40)];
      const even = bits % 2 === 0 ? bits : bits + 1;
      return toFloat16Bits(middle) !== even || toFloat16Bits(below) !== bits || toFloat16Bits(above) !== bits + 1;
    });
    expect(wrong).toEqual([]);
  });

  test('overflow from halfway beyond the largest on', () => {
    expect(toFloat16Bits(65_519.99)).toBe(0x7bff);
    expect(toFloat16Bits(65_520)).toBe(0x7c00);
    expect(toFloat16Bits(-1e9)).toBe(0xfc00);
  });

  test('underflow to a zero that keeps its sign', () => {
    expect(toFloat16Bits(2 ** -25)).toBe(0x0000);
    expect(toFloat16Bits(2 ** -25 * 1.001)).toBe(0x0001);
    expect(toFloat16Bits(-1e-30)).toBe(0x8000);
  });
});
