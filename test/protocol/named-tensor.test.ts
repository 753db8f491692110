import { describe, expect, test } from 'vitest';
import { bytesTensor, float32Tensor, int64Tensor, unwrap, valuesByName } from '../../protocol/named-tensor.ts';

describe('a tensor', () => {
  test.each([
    [bytesTensor('x', [2], ['a', 'b']), { name: 'x', datatype: 'BYTES', shape: [2], data: ['a', 'b'] }],
    [int64Tensor('x', [1, 2], [1, -2]), { name: 'x', datatype: 'INT64', shape: [1, 2], data: [1, -2] }],
    [float32Tensor('x', [2], [0.5, -1]), { name: 'x', datatype: 'FP32', shape: [2], data: [0.5, -1] }],
  ])('has a name, a datatype, a shape and data: %#', (tensor, expected) => {
    expect(tensor).toEqual(expected);
    expect(Object.keys(tensor)).toEqual(['name', 'datatype', 'shape', 'data']); // The order that Triton has.
  });

  test('of FP32 has the lowest finite number for -Infinity, which JSON does not have', () => {
    const [lowest = 0] = float32Tensor('x', [1], [Number.NEGATIVE_INFINITY]).data;
    expect(lowest).toBe(Number(new Float32Array(Uint32Array.of(0xff7fffff).buffer)[0]));
    expect(JSON.parse(JSON.stringify(lowest))).toBe(lowest);
  });

  test('of FP32 has no NaN', () => {
    expect(() => float32Tensor('score', [2], [1, Number.NaN])).toThrow(RangeError);
    expect(() => float32Tensor('score', [2], [1, Number.NaN])).toThrow('score');
  });
});

test.each([
  [['a'], 'a'],
  [[''], ''],
  [
    ['a', 'b'],
    ['a', 'b'],
  ],
  [[], []],
])('the data %j is unwrapped to %j', (data, expected) => {
  expect(unwrap(bytesTensor('x', [data.length], data))).toEqual(expected);
});

test('a number is unwrapped too, and zero is a number', () => {
  expect(unwrap(int64Tensor('x', [1], [0]))).toBe(0);
});

test('tensors by their names are unwrapped', () => {
  expect(valuesByName([int64Tensor('one', [1], [1]), bytesTensor('two', [2], ['a', 'b'])])).toEqual({
    one: 1,
    two: ['a', 'b'],
  });
  expect(valuesByName([])).toEqual({});
});
