import { describe, expect, test } from 'vitest';
import { addInput, addOutput, createGraph, type Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { createSession } from '../../pipeline/sessions/runtime.ts';
import { expectClose } from '../support/close-to.ts';

/** Operators one by one, with values that can be held in the head, or that PyTorch gave. */

const TOLERANCE = { absolute: 1e-6, relative: 1e-6 };
/** PyTorch printed these to six decimals. */
const PRINTED_TOLERANCE = { absolute: 1e-5, relative: 1e-5 };

interface Tensor {
  readonly data: readonly number[];
  readonly shape: readonly number[];
}

/** Runs a graph of one input and the outputs that `build` makes of it. */
async function compute(
  data: readonly number[],
  shape: readonly number[],
  build: (scope: Scope, x: Value<'float32'>) => Readonly<Record<string, Value>>,
): Promise<Readonly<Record<string, Tensor>>> {
  const graph = createGraph('operators');
  const x = addInput(
    graph,
    'x',
    'float32',
    shape.map((_, axis) => `axis_${axis}`),
  );
  for (const [name, value] of Object.entries(build(createScope(graph), x))) addOutput(graph, name, value);
  const session = await createSession(graph, { executionProvider: 'cpu', threadCount: 1 });
  const outputs = await session.run({ x: { data: Float32Array.from(data), shape } });
  await session.release();
  return Object.fromEntries(
    Object.entries(outputs).map(([name, output]) => [
      name,
      { data: Array.from(output.data, Number), shape: output.shape },
    ]),
  );
}

function expectTensor(
  got: Tensor | undefined,
  shape: readonly number[],
  data: readonly number[],
  tolerance = TOLERANCE,
) {
  expect(got?.shape).toEqual(shape);
  expectClose(got?.data ?? [], data, tolerance);
}

/** 0, 1, 2, … */
const countTo = (count: number) => Array.from({ length: count }, (_, index) => index);

describe('a number as an operand', () => {
  test('becomes a constant of the other operand’s type, and a list a 1-D one', () => {
    const graph = createGraph('operands');
    const { op } = createScope(graph);
    op.add(addInput(graph, 'a', 'int64', [2]), 1);
    op.mul(addInput(graph, 'b', 'float32', [2]), [1, 2]);
    op.max(addInput(graph, 'c', 'float16', [2]), -1, 0.5);
    op.where(addInput(graph, 'd', 'bool', [2]), -65_504, addInput(graph, 'e', 'float16', [2]));
    const constants = [...graph.initializers.values()].map(({ elementType, shape, data }) => [
      elementType,
      shape,
      data,
    ]);
    const bytes = (array: Uint16Array | Float32Array | BigInt64Array) => new Uint8Array(array.buffer);
    expect(constants).toEqual([
      ['int64', [], bytes(BigInt64Array.of(1n))],
      ['float32', [2], bytes(Float32Array.of(1, 2))],
      ['float16', [], bytes(Uint16Array.of(0xbc00))],
      ['float16', [], bytes(Uint16Array.of(0x3800))],
      ['float16', [], bytes(Uint16Array.of(0xfbff))],
    ]);
  });

  test('may stand on either side of a choice', async () => {
    const values = [1, -2, 3];
    const { first, second } = await compute(values, [3], ({ op }, x) => ({
      first: op.where(op.greater(x, 0), x, 0),
      second: op.where(op.greater(x, 0), 9, x),
    }));
    expectTensor(first, [3], [1, 0, 3]);
    expectTensor(second, [3], [9, -2, 9]);
  });
});

test('indices, counting and filling follow a dimension that is known at run time', async () => {
  const { indices, counted, filled, range } = await compute(countTo(6), [2, 3], ({ op }, x) => ({
    indices: op.indices(x, 1),
    counted: op.countTo(op.dimension(x, 0)),
    filled: op.fill('int64', 7, [op.dimension(x, 0), 2]),
    range: op.range(2, op.constant('int64', 9), 3),
  }));
  expectTensor(indices, [3], [0, 1, 2]);
  expectTensor(counted, [2], [0, 1]);
  expectTensor(filled, [2, 2], [7, 7, 7, 7]);
  expectTensor(range, [3], [2, 5, 8]);
});

test('a cast to the type that a value has is the value itself', () => {
  const graph = createGraph('cast');
  const { op } = createScope(graph);
  const x = addInput(graph, 'x', 'float32', [2]);
  expect(op.cast(x, 'float32')).toBe(x);
  expect(op.cast(x, 'float16')).toMatchObject({ elementType: 'float16', shape: [2] });
  expect(graph.nodes.map(({ operator }) => operator)).toEqual(['Cast']);
});

test('exp is that of every element', async () => {
  const values = [0, 1, -1, 4.6052, -50, Number.NEGATIVE_INFINITY];
  const { y } = await compute(values, [2, 3], (scope, x) => ({ y: scope.op.exp(x) }));
  expectTensor(y, [2, 3], values.map(Math.exp));
});

describe('normalizeL2', () => {
  const normalized = async (values: readonly number[], shape: readonly number[]) =>
    (await compute(values, shape, (scope, x) => ({ y: scope.op.normalizeL2(x) })))['y'];

  test('gives every row the length 1, along the last axis', async () => {
    const values = [3, 4, -5, 12, 0, -0.25];
    expectTensor(await normalized(values, [3, 2]), [3, 2], [0.6, 0.8, -5 / 13, 12 / 13, 0, -1]);
    const all = Math.hypot(...values);
    expectTensor(
      await normalized(values, [6]),
      [6],
      values.map((value) => value / all),
    );
    const [first, second] = [Math.hypot(3, 4, -5), Math.hypot(12, 0, -0.25)];
    const rows = [3 / first, 4 / first, -5 / first, 12 / second, 0, -0.25 / second];
    expectTensor(await normalized(values, [1, 2, 3]), [1, 2, 3], rows);
  });

  test('leaves zeros as they are', async () => {
    expectTensor(await normalized([0, 0, 0, 3, 0, 4], [2, 3]), [2, 3], [0, 0, 0, 0.6, 0, 0.8]);
  });

  test('holds for short and for long vectors', async () => {
    expectTensor(await normalized([3e-15, 4e-15, 3e15, 4e15], [2, 2]), [2, 2], [0.6, 0.8, 0.6, 0.8]);
  });
});

describe('slice', () => {
  const rows = countTo(24); // [2, 3, 4]: 12 * first + 4 * second + third
  const sliced = async (start: readonly number[], end: readonly number[], axes: readonly number[]) =>
    (
      await compute(rows, [2, 3, 4], (scope, x) => ({
        y: scope.op.slice(x, scope.op.constant('int64', start), scope.op.constant('int64', end), axes),
      }))
    )['y'];

  test('cuts along one axis', async () => {
    expectTensor(await sliced([1], [3], [1]), [2, 2, 4], [4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23]);
  });

  test('cuts along several axes at once, each with its own start and end', async () => {
    expectTensor(await sliced([1, 2], [3, 4], [1, 2]), [2, 2, 2], [6, 7, 10, 11, 18, 19, 22, 23]);
    expectTensor(await sliced([1, 0, 3], [2, 1, 4], [0, 1, 2]), [1, 1, 1], [15]);
  });

  test('takes axes in the order in which they are named', async () => {
    expectTensor(await sliced([3, 1], [4, 2], [2, 0]), [1, 3, 1], [15, 19, 23]);
  });

  test('counts from the end below zero, and stops at the end', async () => {
    const end = Number.MAX_SAFE_INTEGER;
    expectTensor(await sliced([-1, -2], [end, -1], [1, 2]), [2, 1, 1], [10, 22]);
    expectTensor(await sliced([0, 2], [1, end], [0, 1]), [1, 1, 4], [8, 9, 10, 11]);
  });

  test('may leave nothing', async () => {
    expectTensor(await sliced([2, 1], [2, 3], [1, 2]), [2, 0, 2], []);
  });

  test('takes starts and ends that are computed', async () => {
    const { y } = await compute(rows, [2, 3, 4], (scope, x) => {
      const sizes = scope.op.concat([scope.op.dimension(x, 0), scope.op.dimension(x, 1)], 0); // 2 and 3
      return { y: scope.op.slice(x, scope.op.sub(sizes, scope.op.constant('int64', [1, 2])), sizes, [0, 2]) };
    });
    expectTensor(y, [1, 3, 2], [13, 14, 17, 18, 21, 22]);
  });
});

describe('topK', () => {
  const values = [1, 9, 5, 7, 3, 8]; // [3, 2]: columns 1, 5, 3 and 9, 7, 8
  const largest = (axis: number | undefined, count: number, shape: readonly number[] = [3, 2]) =>
    compute(values, shape, (scope, x) => {
      const top = scope.op.topK(x, scope.op.constant('int64', [count]), ...(axis === undefined ? [] : [axis]));
      return { values: top.values, indices: top.indices };
    });

  test('takes the last axis where none is named', async () => {
    const { values: top, indices } = await largest(undefined, 1);
    expectTensor(top, [3, 1], [9, 7, 8]);
    expectTensor(indices, [3, 1], [1, 1, 1]);
    expect(await largest(-1, 2)).toEqual(await largest(undefined, 2));
    expect(await largest(1, 2)).toEqual(await largest(undefined, 2));
  });

  test('takes the axis that is named, largest first', async () => {
    const { values: top, indices } = await largest(0, 2);
    expectTensor(top, [2, 2], [5, 9, 3, 8]);
    expectTensor(indices, [2, 2], [1, 0, 2, 2]);
  });

  test('takes an axis in the middle', async () => {
    const { values: top, indices } = await largest(1, 2, [1, 3, 2]);
    expectTensor(top, [1, 2, 2], [5, 9, 3, 8]);
    expectTensor(indices, [1, 2, 2], [1, 0, 2, 2]);
  });

  test('takes all of an axis, or none', async () => {
    expectTensor((await largest(0, 3))['values'], [3, 2], [5, 9, 3, 8, 1, 7]);
    expectTensor((await largest(0, 0))['values'], [0, 2], []);
  });
});

describe('interpolateBicubic is PyTorch’s', () => {
  const interpolated = async (data: readonly number[], shape: readonly number[], side: readonly [number, number]) =>
    (
      await compute(data, shape, (scope, x) => ({
        y: scope.op.interpolateBicubic(x, scope.op.constant('int64', [shape[0] ?? 0, shape[1] ?? 0, ...side])),
      }))
    )['y'];
  const small = [1, 2, 4, 0, -3, 5, 2, 2, -1];

  test.each([
    [
      'to more',
      [5, 4],
      [
        0.99666, 1.824828, 3.145191, 4.006211, 0.523125, -0.58575, 1.460624, 5.187499, 0.215332, -2.797852, -0.446777,
        5.574219, 1.256221, 0.036464, 0.153077, 1.522021, 2.171329, 2.821824, 1.050055, -1.867129,
      ],
    ],
    ['to fewer', [2, 2], [0.568771, 3.588364, 1.336304, 0.432953]],
    ['to fewer one way and more the other', [1, 6], [0.316406, -0.960938, -3.164062, -1.503906, 3.082031, 5.84375]],
    ['to the same', [3, 3], small],
  ] as const)('%s', async (_, side, expected) => {
    expectTensor(await interpolated(small, [1, 1, 3, 3], [...side]), [1, 1, ...side], expected, PRINTED_TOLERANCE);
  });

  test('for each channel of each image', async () => {
    const rising = countTo(16).map((value) => value ** 1.5);
    const falling = countTo(16).map((index) => -((index % 4) * 4 + Math.floor(index / 4)));
    const expected = [
      2.86802, 5.79586, 9.78849, 34.09023, 40.96384, 48.29002, -0.91088, -6.40625, -11.90162, -3.09838, -8.59375,
      -14.08912,
    ];
    expectTensor(
      await interpolated([...rising, ...falling], [1, 2, 4, 4], [2, 3]),
      [1, 2, 2, 3],
      expected,
      PRINTED_TOLERANCE,
    );
    expectTensor(
      await interpolated([...rising, ...falling], [2, 1, 4, 4], [2, 3]),
      [2, 1, 2, 3],
      expected,
      PRINTED_TOLERANCE,
    );
  });

  test('of a single element it is that element everywhere', async () => {
    expectTensor(await interpolated([7], [1, 1, 1, 1], [2, 3]), [1, 1, 2, 3], [7, 7, 7, 7, 7, 7]);
  });

  test('and not Pillow’s, which looks at more pixels where there are fewer', async () => {
    const { y } = await compute(small, [1, 1, 3, 3], (scope, x) => ({
      y: scope.op.resizeBicubic(x, scope.op.constant('int64', [1, 1, 2, 2])),
    }));
    expect(Math.abs((y?.data[0] ?? 0) - 0.568771)).toBeGreaterThan(0.01);
  });
});

test('a bias is added to the scores of attention, and may hide keys', async () => {
  const values = [1, 0, 0, 2, 3, 1]; // [1, 3, 2]: three tokens of one head
  const { plain, hidden } = await compute(values, [1, 3, 2], (scope, x) => {
    const bias = (data: readonly number[]) => scope.op.constant('float32', data, [1, 1, 3, 3]);
    const later = [0, -1e9, -1e9, 0, 0, -1e9, 0, 0, 0];
    return {
      plain: scope.op.microsoft.multiHeadAttention(
        { query: x, key: x, value: x, bias: bias(countTo(9).map(() => 0)) },
        1,
      ),
      hidden: scope.op.microsoft.multiHeadAttention({ query: x, key: x, value: x, bias: bias(later) }, 1),
    };
  });
  const tokens = [values.slice(0, 2), values.slice(2, 4), values.slice(4, 6)];
  /** softmax(q · k / √2) over the keys that are seen. */
  const attended = (query: number, seen: number) => {
    const keys = tokens.slice(0, seen);
    const powers = keys.map((key) =>
      Math.exp(key.reduce((sum, value, axis) => sum + value * (tokens[query]?.[axis] ?? 0), 0) / Math.SQRT2),
    );
    const total = powers.reduce((sum, power) => sum + power, 0);
    return [0, 1].map((axis) =>
      keys.reduce((sum, key, index) => sum + ((powers[index] ?? 0) / total) * (key[axis] ?? 0), 0),
    );
  };
  expectTensor(
    plain,
    [1, 3, 2],
    [0, 1, 2].flatMap((query) => attended(query, 3)),
  );
  expectTensor(
    hidden,
    [1, 3, 2],
    [0, 1, 2].flatMap((query) => attended(query, query + 1)),
  );
});
