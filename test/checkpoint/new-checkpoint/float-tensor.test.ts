import { expect, test } from 'vitest';
import { readFloats } from '../../../checkpoint/new-checkpoint/float-tensor.ts';
import { readSafetensorsHeader } from '../../../checkpoint/weights/safetensors.ts';
import { safetensorsBytes, writeSafetensors } from '../../support/safetensors-file.ts';

/** A file of one tensor with these bytes. */
function region(dtype: string, bytes: Uint8Array, elementBytes: number) {
  const header = { x: { dtype, shape: [bytes.length / elementBytes], data_offsets: [0, bytes.length] } };
  const path = writeSafetensors(Buffer.concat([safetensorsBytes({ header }), bytes]));
  const [first] = readSafetensorsHeader(path);
  if (first === undefined) throw new Error('Expected a tensor.');
  return first;
}

const halves = (...bits: number[]) => new Uint8Array(Uint16Array.from(bits).buffer);

test('float16: normal, subnormal, signed zero, infinities (IEEE 754-2019, table 3.5)', () => {
  const bits = [0x3c00, 0xc000, 0x3555, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x8000, 0x7c00, 0xfc00];
  const expected = [
    1,
    -2,
    0.333251953125,
    65504,
    2 ** -14,
    2 ** -24,
    -1023 * 2 ** -24,
    -0,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ];
  expect([...readFloats(region('F16', halves(...bits), 2))]).toEqual(expected);
  expect([...readFloats(region('F16', halves(0x7e00), 2))]).toEqual([Number.NaN]);
});

test('bfloat16 is the upper half of float32', () => {
  const values = [1, -2, 0.33203125, 3.3895313892515355e38, -0, Number.NEGATIVE_INFINITY];
  const bits = [0x3f80, 0xc000, 0x3eaa, 0x7f7f, 0x8000, 0xff80];
  expect([...readFloats(region('BF16', halves(...bits), 2))]).toEqual(values);
});

test('float32 as it is', () => {
  const values = Float32Array.of(1, -2.5, 3e-39, Number.MAX_VALUE);
  expect(readFloats(region('F32', new Uint8Array(values.buffer), 4))).toEqual(values);
});

test('other numbers are not floats', () => {
  expect(() => readFloats(region('I8', Uint8Array.of(1, 2), 1))).toThrow(
    new TypeError('Expected a tensor of floats, got I8.'),
  );
});
