import { expect, test } from 'vitest';
import { LOWEST_FLOAT32 } from '../../numbers/float32-limits.ts';

test('below the lowest float32 is only infinity', () => {
  const bits = new Uint32Array(Float32Array.of(LOWEST_FLOAT32).buffer);
  expect([...bits]).toEqual([0xff7fffff]);
  expect(Math.fround(LOWEST_FLOAT32)).toBe(LOWEST_FLOAT32);
  expect(new Float32Array(Uint32Array.of(0xff7fffff + 1).buffer)[0]).toBe(Number.NEGATIVE_INFINITY);
});
