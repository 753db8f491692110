import { expect, test } from 'vitest';
import { fromBfloat16 } from '../../numbers/from-bfloat16.ts';
import { toBfloat16Bits } from '../../numbers/to-bfloat16.ts';

function bitsOf(value: number): number | undefined {
  return toBfloat16Bits(Float32Array.of(value))[0];
}

test('every bfloat16 is its own nearest', () => {
  for (let bits = 0; bits < 2 ** 16; bits += 1) {
    const value = fromBfloat16(bits);
    if (!Number.isNaN(value)) expect(bitsOf(value)).toBe(bits);
  }
});

test.each([
  [1 + 2 ** -9, 0x3f80],
  [1 + 2 ** -8, 0x3f80], // Half way to the next: even.
  [1 + 3 * 2 ** -8, 0x3f82],
  [1 + 2 ** -8 + 2 ** -20, 0x3f81],
  [-(1 + 3 * 2 ** -8), 0xbf82],
  [3.4028234663852886e38, 0x7f80],
  [1e-45, 0],
  [Number.NaN, 0x7fc0],
  [Number.NEGATIVE_INFINITY, 0xff80],
])('%d becomes %d', (value, bits) => {
  expect(bitsOf(value)).toBe(bits);
});
