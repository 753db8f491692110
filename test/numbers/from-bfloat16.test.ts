import { expect, test } from 'vitest';
import { fromBfloat16 } from '../../numbers/from-bfloat16.ts';

test('each of the 65,536 patterns is the upper half of a float32', () => {
  const halves = Uint16Array.from({ length: 2 ** 17 }, (_, index) => (index % 2 === 0 ? 0 : (index - 1) / 2));
  const values = new Float32Array(halves.buffer); // Little-endian: the upper half comes second.
  expect(values).toHaveLength(2 ** 16);
  const different = [...values.keys()].filter((bits) => !Object.is(fromBfloat16(bits), values[bits]));
  expect(different).toEqual([]);
});

test.each([
  [0x3f80, 1],
  [0xc000, -2],
  [0x3eaa, 0.33203125],
  [0x7f7f, 3.3895313892515355e38],
  [0x0001, 2 ** -133],
  [0x8000, -0],
  [0xff80, Number.NEGATIVE_INFINITY],
  [0x7fc0, Number.NaN],
])('%i is %d', (bits, value) => {
  expect(fromBfloat16(bits)).toBe(value);
});
