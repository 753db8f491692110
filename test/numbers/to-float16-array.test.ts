import { expect, test } from 'vitest';
import { toFloat16Bits } from '../../numbers/to-float16.ts';
import { toFloat16Array } from '../../numbers/to-float16-array.ts';

test('every kind of number becomes what it becomes alone', () => {
  const special = [
    0,
    -0,
    1,
    -1,
    65504,
    65519.99,
    65520,
    -1e30,
    1 / 0,
    -1 / 0,
    Number.NaN,
    2 ** -14,
    2 ** -24,
    2 ** -25,
  ];
  // Every exponent, with fractions that lie on, below and above the middle of two float16.
  const spread = Array.from({ length: 80_000 }, (_, index) => {
    const exponent = (index % 48) - 30;
    const fraction = 1 + (((index * 2_654_435_761) % 8192) + (index % 3) / 2) / 8192;
    return (index % 2 === 0 ? 1 : -1) * fraction * 2 ** exponent;
  });
  const values = Float32Array.from([...special, ...spread]);
  const bits = toFloat16Array(values);
  expect(Array.from(values).findIndex((value, index) => toFloat16Bits(value) !== bits[index])).toBe(-1);
});
