import { describe, expect, test } from 'vitest';
import type { ElementType } from '../../onnx/element-type.ts';
import { addInput, createGraph, isOfType, once, type Value } from '../../onnx/graph.ts';
import { createScope } from '../../onnx/scope.ts';
import type { Dimension } from '../../onnx/shape.ts';

/** Shapes that are known while a graph is written: carried from value to value, and refused where they do not fit. */

const scope = createScope(createGraph('shapes'), 'layer');
const { op } = scope;
const { microsoft } = op;

function input(shape: readonly Dimension[] | undefined): Value<'float32'>;
function input<T extends ElementType>(shape: readonly Dimension[] | undefined, elementType: T): Value<T>;
function input(shape: readonly Dimension[] | undefined, elementType: ElementType = 'float32'): Value {
  return addInput(scope.op.graph, 'x', elementType, shape);
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
      'a transposition that names an axis twice',
      () => op.transpose(float32([2, 3, 4]), [0, 0, 2]),
      'layer/Transpose: expected each axis once in place of 0, 0, 2, got float32 [2, 3, 4].',
    ],
    [
      'a transposition that names an axis twice, of a value of unknown rank',
      () => op.transpose(anything, [0, 0]),
      'expected each axis once in place of 0, 0, got float32 of unknown rank.',
    ],
    [
      'a transposition that counts from the end',
      () => op.transpose(x, [1, -2]),
      'expected each axis once in place of 1, -2, got float32 [rows, 4].',
    ],
    [
      'a slice of fewer starts than axes',
      () => op.slice(x, [0], [1, 2], [0, 1]),
      'layer/Slice: expected a start and an end for each of the axes 0, 1, got float32 [rows, 4] and int64 [1] and int64 [2].',
    ],
    [
      'a slice of more ends than axes',
      () => op.slice(x, [0], input([2], 'int64'), [0]),
      'for each of the axes 0, got float32 [rows, 4] and int64 [1] and int64 [2].',
    ],
    [
      'a dimension that counts from the end',
      () => op.dimension(anything, -1),
      'layer/Shape: expected an axis that counts from the front in place of -1, got float32 of unknown rank.',
    ],
    [
      'elements by indices of another rank',
      () => op.gatherElements(x, input(['rows'], 'int64'), 1),
      'layer/GatherElements: expected x and indices with as many dimensions, got float32 [rows, 4] and int64 [rows].',
    ],
    [
      'a scatter by indices of another rank',
      () => op.scatterElements(x, input([4], 'int64'), float32([4]), 1),
      'layer/ScatterElements: expected x, and indices and updates of one shape with as many dimensions, ' +
        'got float32 [rows, 4] and int64 [4] and float32 [4].',
    ],
    [
      'a scatter of more updates than indices',
      () => op.scatterElements(x, input(['rows', 1], 'int64'), input(['rows', 2]), 1),
      'got float32 [rows, 4] and int64 [rows, 1] and float32 [rows, 2].',
    ],
    [
      'a scatter of updates of another rank',
      () => op.scatterElements(anything, input(['rows', 1], 'int64'), input(['rows']), 1),
      'got float32 of unknown rank and int64 [rows, 1] and float32 [rows].',
    ],
    [
      'a product of integers of another width',
      () =>
        microsoft.matMulIntegerToFloat({
          a: input(['rows', 4], 'uint8'),
          aScale: op.constant('float32', 1),
          aZeroPoint: op.constant('uint8', 0),
          b: input([5, 8], 'int8'),
          bScale: float32([8]),
        }),
      'layer/MatMulIntegerToFloat: expected a [rows, in], b [in, out], its scale and bias [out], got uint8 [rows, 4]',
    ],
    [
      'a product of integers by scales of another length',
      () =>
        microsoft.matMulIntegerToFloat({
          a: input(['rows', 4], 'uint8'),
          aScale: op.constant('float32', 1),
          aZeroPoint: op.constant('uint8', 0),
          b: input([4, 8], 'int8'),
          bScale: float32([4]),
        }),
      'got uint8 [rows, 4] and int8 [4, 8] and float32 [4].',
    ],
    [
      'a product of blocks by rows of another width',
      () =>
        microsoft.matMulBlocks({
          x: input(['rows', 31]),
          b: input([8, 2, 16], 'uint8'),
          bScale: float32([16]),
          inputSize: 32,
          bias: float32([8]),
        }),
      'layer/MatMulNBits: expected x [rows, 32], b [out, blocks, block], its scale [out * blocks], its zero point [out * ceil(blocks / 2)] and bias [out], got',
    ],
    [
      'a product of blocks that are too few for the rows',
      () =>
        microsoft.matMulBlocks({
          x: input(['rows', 33]),
          b: input([8, 2, 16], 'uint8'),
          bScale: float32([16]),
          inputSize: 33,
          bias: float32([8]),
        }),
      'got float32 [rows, 33] and uint8 [8, 2, 16]',
    ],
  ])('%s', (_, write, message) => {
    expect(write).toThrow(RangeError);
    expect(write).toThrow(message);
  });
});

describe('an axis that a value lacks is refused', () => {
  const ids = input(['rows', 4], 'int64');
  const scalar = op.constant('float32', 1);

  test.each<[string, () => unknown, string]>([
    ['Gather', () => op.gather(x, [0], 2), '2 dimensions, each at most once, got 2 for float32 [rows, 4].'],
    ['Gather', () => op.gather(x, 0, -3), 'got -3 for float32 [rows, 4].'],
    ['Gather', () => op.gather(x, input(undefined, 'int64'), 2), 'got 2 for float32 [rows, 4].'],
    ['GatherElements', () => op.gatherElements(x, ids, 2), 'got 2 for float32 [rows, 4].'],
    ['ScatterElements', () => op.scatterElements(x, ids, x, 2), 'got 2 for float32 [rows, 4].'],
    ['TopK', () => op.topK(x, [1], 2), 'got 2 for float32 [rows, 4].'],
    ['TopK', () => op.topK(scalar, [1]), '0 dimensions, each at most once, got -1 for float32 [].'],
    ['ReduceSum', () => op.reduceSum(x, 2), 'got 2 for float32 [rows, 4].'],
    ['ReduceMax', () => op.reduceMax(x, -3, true), 'got -3 for float32 [rows, 4].'],
    ['ReduceMin', () => op.reduceMin(x, 0.5), 'got 0.5 for float32 [rows, 4].'],
    ['ReduceLogSumExp', () => op.reduceLogSumExp(scalar, 0), 'got 0 for float32 [].'],
    ['CumSum', () => op.cumulativeSum(x, 2), 'got 2 for float32 [rows, 4].'],
    ['Slice', () => op.slice(x, [0, 0], [1, 1], [0, 2]), 'got 0, 2 for float32 [rows, 4].'],
    ['Slice', () => op.slice(x, [0, 0], [1, 1], [1, -1]), 'got 1, -1 for float32 [rows, 4].'],
    ['Squeeze', () => op.squeeze(float32([1, 4]), [2]), 'got 2 for float32 [1, 4].'],
    ['Squeeze', () => op.squeeze(float32([1, 4]), [0, -2]), 'got 0, -2 for float32 [1, 4].'],
    ['Unsqueeze', () => op.unsqueeze(x, [3]), '3 dimensions, each at most once, got 3 for float32 [rows, 4].'],
    ['Unsqueeze', () => op.unsqueeze(x, [1, -3]), '4 dimensions, each at most once, got 1, -3 for float32 [rows, 4].'],
    ['Concat', () => op.concat([x], 2), 'got 2 for float32 [rows, 4].'],
    ['Shape', () => op.dimension(x, 2), 'got 2 for float32 [rows, 4].'],
    ['Trilu', () => op.lowerTriangle(input([4], 'int64'), 0), 'got -2, -1 for int64 [4].'],
    ['Softmax', () => op.softmax(scalar), 'got -1 for float32 [].'],
    ['LogSoftmax', () => op.logSoftmax(scalar), 'got -1 for float32 [].'],
    ['LpNormalization', () => op.normalizeL2(scalar), 'got -1 for float32 [].'],
    ['LayerNormalization', () => op.layerNormalization(scalar, scalar, scalar, 1), 'got -1 for float32 [].'],
  ])('%s: case %#', (operator, write, message) => {
    expect(write).toThrow(RangeError);
    expect(write).toThrow(`layer/${operator}: expected axes among `);
    expect(write).toThrow(message);
  });
});

describe('attention over shapes that do not fit is refused', () => {
  const expected =
    'expected query [batch, queries, width], key and value [batch, keys, width] or [batch, 2, keys, width / 2], ';
  const query = float32([2, 3, 8]);
  const keys = float32([2, 5, 8]);

  test.each<[string, Partial<Record<'query' | 'key' | 'value' | 'bias', Value<'float32'>>>, string]>([
    [
      'a width that the heads do not divide',
      { query: float32([2, 3, 7]) },
      'got float32 [2, 3, 7] and float32 [2, 5, 8]',
    ],
    ['a query that is rows', { query: float32([6, 8]) }, 'got float32 [6, 8] and float32 [2, 5, 8]'],
    ['a key of another width', { key: float32([2, 5, 6]) }, 'got float32 [2, 3, 8] and float32 [2, 5, 6]'],
    ['a value of another width', { value: float32([2, 5, 6]) }, 'and float32 [2, 5, 8] and float32 [2, 5, 6].'],
    ['more values than keys', { value: float32([2, 6, 8]) }, 'and float32 [2, 5, 8] and float32 [2, 6, 8].'],
    ['keys of another batch', { key: float32([3, 5, 8]), value: float32([3, 5, 8]) }, 'and float32 [3, 5, 8].'],
    ['a key that is rows', { key: float32([10, 8]) }, 'and float32 [10, 8] and float32 [2, 5, 8].'],
    ['a key in other heads', { key: float32([2, 4, 5, 2]) }, 'and float32 [2, 4, 5, 2] and float32 [2, 5, 8].'],
    ['heads of another size', { key: float32([2, 2, 5, 8]) }, 'and float32 [2, 2, 5, 8] and float32 [2, 5, 8].'],
    ['a bias of three dimensions', { bias: float32([2, 3, 5]) }, 'and float32 [2, 3, 5].'],
    ['a bias of another batch', { bias: float32([3, 1, 3, 5]) }, 'and float32 [3, 1, 3, 5].'],
    ['a bias of other heads', { bias: float32([2, 3, 3, 5]) }, 'and float32 [2, 3, 3, 5].'],
    ['a bias for one query', { bias: float32([2, 1, 1, 5]) }, 'and float32 [2, 1, 1, 5].'],
    ['a bias for other keys', { bias: float32([2, 1, 3, 4]) }, 'and float32 [2, 1, 3, 4].'],
  ])('%s', (_, other, message) => {
    const write = () => microsoft.multiHeadAttention({ query, key: keys, value: keys, ...other }, 2);
    expect(write).toThrow(RangeError);
    expect(write).toThrow(`layer/MultiHeadAttention: ${expected}and bias [batch, heads, queries, keys], got `);
    expect(write).toThrow(message);
  });

  const past = float32([2, 2, 7, 4]);

  test.each<[string, Partial<Record<'pastKey' | 'pastValue' | 'bias', Value<'float32'>>>, string]>([
    ['a past that is not in heads', { pastKey: float32([2, 7, 8]) }, 'and float32 [2, 7, 8] and float32 [2, 2, 7, 4]'],
    [
      'a past of other heads',
      { pastValue: float32([2, 4, 7, 2]) },
      'and float32 [2, 2, 7, 4] and float32 [2, 4, 7, 2]',
    ],
    [
      'a past of more values',
      { pastValue: float32([2, 2, 8, 4]) },
      'and float32 [2, 2, 7, 4] and float32 [2, 2, 8, 4]',
    ],
    ['a bias for the new keys alone', { bias: float32([2, 1, 3, 5]) }, 'and float32 [2, 1, 3, 5].'],
  ])('after a past: %s', (_, other, message) => {
    const inputs = { query, key: keys, value: keys, pastKey: past, pastValue: past, bias: float32([2, 1, 3, 12]) };
    const write = () => microsoft.cachedMultiHeadAttention({ ...inputs, ...other }, 2);
    expect(write).toThrow(RangeError);
    expect(write).toThrow(`${expected}past [batch, 2, keys, width / 2] and bias [batch, heads, queries, keys], got `);
    expect(write).toThrow(message);
  });

  test.each<[string, Partial<Record<'query' | 'key' | 'value' | 'bias', Value<'float32'>>>]>([
    ['keys and values in heads', { key: float32([2, 2, 5, 4]), value: float32([2, 2, 5, 4]) }],
    ['a bias for each head', { bias: float32([2, 2, 3, 5]) }],
    ['a bias for the whole batch and all heads', { bias: float32([1, 1, 3, 5]) }],
    ['a batch that has a name', { query: input(['rows', 3, 8]), bias: input(['rows', 1, 3, 5]) }],
    ['a query of unknown rank', { query: anything }],
    ['keys of unknown rank', { key: anything, value: anything, bias: float32([2, 1, 3, 5]) }],
  ])('and one that fits is not: %s', (_, other) => {
    const inputs = { query, key: keys, value: keys, ...other };
    expect(microsoft.multiHeadAttention(inputs, 2).shape).toEqual(inputs.query.shape);
  });

  test('nor is one after a past, whose keys count for the bias', () => {
    const inputs = { query, key: keys, value: keys, pastKey: past, pastValue: past, bias: float32([2, 1, 3, 12]) };
    expect(microsoft.cachedMultiHeadAttention(inputs, 2).output.shape).toEqual([2, 3, 8]);
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

describe('known shapes are carried from value to value', () => {
  const indices = input(['rows', 3], 'int64');
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
    ['new axes in any order', op.unsqueeze(x, [-1, 0]), [1, 'rows', 4, 1]],
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
  ])('a shape that does not follow is not guessed: %s', (_, value) => {
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
