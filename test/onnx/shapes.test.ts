import { describe, expect, test } from 'vitest';
import type { ElementType } from '../../onnx/element-type.ts';
import { addInput, createGraph, isOfType, once, type Value } from '../../onnx/graph.ts';
import { createScope } from '../../onnx/scope.ts';
import type { Dimension } from '../../onnx/shape.ts';

/** Shapes that are known while a graph is written: carried from value to value, and refused where they do not fit. */

const scope = createScope(createGraph('shapes'), 'layer');
const { op } = scope;
const { microsoft } = op;

function input<T extends ElementType = 'float32'>(
  shape: readonly Dimension[] | undefined,
  elementType?: T,
): Value<T | 'float32'> {
  return addInput(scope.op.graph, 'x', elementType ?? 'float32', shape);
}

const x = input(['rows', 4]);
const float32 = (shape: readonly number[]) => input(shape);
const anything = input(undefined);

describe('a value that does not fit is refused on its line, and the message has the node and the shapes', () => {
  test.each([
    [
      'a Gemm of another width',
      () => op.gemm(x, float32([8, 5])),
      'layer/Gemm: expected x [rows, in], weight [out, in] and bias [out], got float32 [rows, 4] and float32 [8, 5].',
    ],
    ['a Gemm of a weight as [in, out]', () => op.gemm(x, float32([4, 8])), 'got float32 [rows, 4] and float32 [4, 8].'],
    [
      'a Gemm of a bias that is too long',
      () => op.gemm(x, float32([8, 4]), float32([4])),
      'got float32 [rows, 4] and float32 [8, 4] and float32 [4].',
    ],
    [
      'a Gemm of rows with three dimensions',
      () => op.gemm(float32([2, 3, 4]), float32([8, 4])),
      'got float32 [2, 3, 4]',
    ],
    [
      'a layer norm of another width',
      () => op.layerNormalization(x, float32([5]), float32([5]), 1e-5),
      'layer/LayerNormalization: expected x […, width], weight and bias [width], got float32 [rows, 4] and float32 [5]',
    ],
    [
      'a layer norm whose bias is longer than its weight',
      () => op.layerNormalization(x, float32([4]), float32([3]), 1e-5),
      'got float32 [rows, 4] and float32 [4] and float32 [3].',
    ],
    [
      'a sum of other sizes',
      () => op.add(x, float32([3])),
      'layer/Add: expected shapes that broadcast, got float32 [rows, 4]',
    ],
    ['a comparison of other sizes', () => op.less(x, [1, 2, 3]), 'got float32 [rows, 4] and float32 [3].'],
    [
      'a choice among other sizes',
      () => op.where(op.greater(x, 0), x, float32([3])),
      'layer/Where: expected shapes that broadcast, got bool [rows, 4] and float32 [rows, 4] and float32 [3].',
    ],
    [
      'a reshape to another number of elements',
      () => op.reshape(float32([2, 6]), [5, 2]),
      'layer/Reshape: expected as many elements as [5, 2] has, got float32 [2, 6].',
    ],
    [
      'a reshape that leaves a rest',
      () => op.reshape(float32([2, 6]), [-1, 5]),
      'expected as many elements as [-1, 5] has',
    ],
    [
      'an expansion to another size',
      () => op.expand(x, [2, 5]),
      'expected a shape that broadcasts to [2, 5], got float32 [rows, 4].',
    ],
    [
      'a transposition of another rank',
      () => op.transpose(x, [0, 2, 1]),
      'expected 3 dimensions, got float32 [rows, 4].',
    ],
    [
      'leaving out an axis that is longer',
      () => op.squeeze(x, [1]),
      'expected the size 1 at axes 1, got float32 [rows, 4].',
    ],
    [
      'parts of other heights',
      () => op.concat([float32([2, 4]), float32([3, 4])], 1),
      'layer/Concat: expected shapes that differ at axis 1 alone, got float32 [2, 4] and float32 [3, 4].',
    ],
    ['parts of another rank', () => op.concat([x, float32([4])], 0), 'expected shapes that differ at axis 0 alone'],
    [
      'a product of integers of another width',
      () =>
        microsoft.matMulIntegerToFloat({
          a: addInput(scope.op.graph, 'a', 'uint8', ['rows', 4]),
          aScale: op.constant('float32', 1),
          aZeroPoint: op.constant('uint8', 0),
          b: addInput(scope.op.graph, 'b', 'int8', [5, 8]),
          bScale: float32([8]),
        }),
      'layer/MatMulIntegerToFloat: expected a [rows, in], b [in, out] and its scale [out], got uint8 [rows, 4]',
    ],
  ])('%s', (_, write, message) => {
    expect(write).toThrow(RangeError);
    expect(write).toThrow(message);
  });
});

describe('values of two types are refused', () => {
  const half = input(['rows', 4], 'float16');
  const message = 'expected values of one type, got float32 [rows, 4] and float16 [rows, 4].';

  test.each([
    ['Add', () => op.add<'float32' | 'float16'>(x, half)],
    ['Where', () => op.where<'float32' | 'float16'>(op.greater(x, 0), x, half)],
    ['Concat', () => op.concat<'float32' | 'float16'>([x, half], 0)],
    [
      'MultiHeadAttention',
      () => microsoft.multiHeadAttention<'float32' | 'float16'>({ query: x, key: half, value: x }, 1),
    ],
  ])('%s', (operator, write) => {
    expect(write).toThrow(RangeError);
    expect(write).toThrow(`layer/${operator}: `);
    expect(write).toThrow(/expected values of one type, got float32 \[rows, 4\] and .*float16 \[rows, 4\]/);
  });

  test('by a message that names both', () => {
    expect(() => op.sub<'float32' | 'float16'>(x, half)).toThrow(message);
  });
});

describe('known shapes are carried on', () => {
  const indices = input(['rows', 3], 'int64') as Value<'int64'>; // As it was declared.
  const rows = op.dimension(x, 0);

  test.each([
    ['an input', x, ['rows', 4]],
    ['a number', op.constant('int64', 1), []],
    ['a list', op.constant('float32', [1, 2]), [2]],
    ['a sum with a number', op.add(x, 1), ['rows', 4]],
    ['a sum over two axes', op.add(float32([3, 1]), float32([1, 5])), [3, 5]],
    ['a sum of a named and an unknown dimension', op.add(x, op.reshape(anything, [-1, 4])), [undefined, 4]],
    ['a Gemm', op.gemm(x, float32([8, 4])), ['rows', 8]],
    ['a norm', op.layerNormalization(x, float32([4]), float32([4]), 1), ['rows', 4]],
    ['a cast', op.cast(x, 'float16'), ['rows', 4]],
    ['a reshape', op.reshape(float32([2, 6]), [3, -1]), [3, 4]],
    ['a reshape that copies', op.reshape(x, [0, 2, 2]), ['rows', 2, 2]],
    ['a reshape by another value’s dimension', op.reshape(anything, [rows, -1]), ['rows', undefined]],
    ['a reshape to a shape that was written before', op.reshape(x, op.shape([rows, 2, -1])), ['rows', 2, undefined]],
    ['a reshape with a name', op.reshapeNamed(x, 'pairs', [2]), ['pairs', 2]],
    ['an expansion', op.expand(float32([1, 4]), [rows, 1]), ['rows', 4]],
    ['a transposition', op.transpose(float32([2, 3, 4]), [2, 0, 1]), [4, 2, 3]],
    ['new axes', op.unsqueeze(x, [0, 3]), [1, 'rows', 4, 1]],
    ['a new last axis', op.unsqueeze(x, [-1]), ['rows', 4, 1]],
    ['fewer axes', op.squeeze(float32([1, 3, 1]), [0, -1]), [3]],
    ['parts', op.concat([x, x], 1), ['rows', 8]],
    ['a slice', op.slice(x, [0], [1], [0]), [undefined, 4]],
    ['one index', op.gather(x, 0, 1), ['rows']],
    ['rows by index', op.gather(x, indices, 0), ['rows', 3, 4]],
    ['elements by index', op.gatherElements(x, indices, 1), ['rows', 3]],
    ['a sum over an axis', op.reduceSum(x, 1), ['rows']],
    ['a largest that stays an axis', op.reduceMax(x, -1, true), ['rows', 1]],
    ['the largest two', op.topK(x, [2]).indices, ['rows', 2]],
    ['the indices of an axis', op.indices(x, 1), [4]],
    ['counting to a named dimension', op.countTo(rows), ['rows']],
    [
      'attention',
      microsoft.multiHeadAttention({ query: float32([2, 3, 4]), key: anything, value: anything }, 1),
      [2, 3, 4],
    ],
  ] as readonly (readonly [string, Value, readonly (Dimension | undefined)[]])[])('%s', (_, value, shape) => {
    expect(value.shape).toEqual(shape);
  });

  test.each([
    ['a sum with a value of unknown rank', op.add(x, anything)],
    ['a transposition', op.transpose(anything, [1, 0])],
    ['an expansion', op.expand(anything, [2])],
    ['a largest', op.reduceMax(anything, 0)],
  ])('and what is not known is not guessed: %s', (_, value) => {
    expect(value.shape).toBeUndefined();
  });
});

describe('a value that is written once', () => {
  test('is written again only under another key, or in another graph', () => {
    const [first, second] = [createScope(createGraph('first')), createScope(createGraph('second'))];
    const write = ({ op: operators }: typeof first, key: string) =>
      once(operators.graph, key, 'float32', () => operators.fill('float32', 0, [2]));
    expect(write(first, 'a')).toBe(write(first, 'a'));
    expect(write(first, 'b')).not.toBe(write(first, 'a'));
    write(second, 'a');
    expect([first, second].map(({ op: { graph } }) => graph.nodes.length)).toEqual([2, 1]);
  });

  test('keeps its type', () => {
    expect(isOfType(x, 'float32')).toBe(true);
    expect(isOfType(x, 'float16')).toBe(false);
  });
});
