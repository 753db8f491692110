import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { conditional, loop } from '../../onnx/control-flow.ts';
import {
  addBodyOutput,
  addInitializer,
  addInput,
  addOutput,
  createBody,
  createGraph,
  type Graph,
  uniqueName,
  withOverridable,
} from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { createSession, type RuntimeTensor } from '../../pipeline/sessions/runtime.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** Loads a graph, runs it once, and gives each output as plain numbers. */
async function runGraph(
  graph: Graph,
  inputs: Readonly<Record<string, RuntimeTensor>> = {},
  dataFolder?: string,
): Promise<Readonly<Record<string, { data: readonly number[]; shape: readonly number[] }>>> {
  const session = await createSession(graph, {
    executionProvider: 'cpu',
    threadCount: 1,
    ...(dataFolder === undefined ? {} : { dataFolder }),
  });
  const outputs = await session.run(inputs);
  await session.release();
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data, shape }]) => [name, { data: Array.from(data, Number), shape }]),
  );
}

function floats(values: readonly number[], shape: readonly number[] = [values.length]): RuntimeTensor {
  return { data: Float32Array.from(values), shape };
}

/** The graphs inside a graph, itself included. */
function graphsIn(graph: Graph): readonly Graph[] {
  const bodies = graph.nodes
    .flatMap((node) => Object.values(node.attributes))
    .flatMap((attribute) => ('graph' in attribute ? [attribute.graph] : []));
  return [graph, ...bodies.flatMap(graphsIn)];
}

/** Every name that something in the graph or its bodies goes by. */
function namesIn(graph: Graph): readonly string[] {
  const graphs = graphsIn(graph);
  return [
    ...graph.initializers.keys(),
    ...graphs.flatMap(({ inputs, nodes }) => [
      ...inputs.map(({ name }) => name),
      ...nodes.flatMap(({ outputs }) => outputs),
    ]),
  ];
}

function repeated(names: readonly string[]): readonly string[] {
  return names.filter((name, index) => names.indexOf(name) !== index);
}

describe('names', () => {
  test('are taken as they are the first time, and numbered after that', () => {
    const graph = createGraph('names');
    expect([1, 2, 3].map(() => uniqueName(graph, 'x'))).toEqual(['x', 'x_1', 'x_2']);
  });

  test('are unique even where one is asked for that looks numbered', () => {
    const graph = createGraph('names');
    const names = ['x', 'x', 'x_1', 'x', 'x_1_1', 'x_1'].map((name) => uniqueName(graph, name));
    expect(repeated(names)).toEqual([]);
  });

  test('are unique across a graph and its bodies', () => {
    const graph = createGraph('names');
    const names = [graph, createBody(graph, 'first'), createBody(graph, 'second')].map((each) => uniqueName(each, 'x'));
    expect(names).toEqual(['x', 'x_1', 'x_2']);
  });

  test('spell the path of the module', () => {
    const graph = createGraph('names');
    const x = addInput(graph, 'x', 'float32', [1]);
    expect(createScope(graph, 'encoder.layers.0').op.relu(x).name).toBe('encoder.layers.0/Relu');
    expect(createScope(graph).op.relu(x).name).toBe('Relu');
  });

  test('of one path used again and again, in bodies too, still make a graph that runs', async () => {
    const graph = createGraph('names');
    const scope = createScope(graph, 'same');
    const x = addInput(graph, 'x', 'float32', [2]);
    const twice = (inner: Scope) => ({ x: inner.op.add(inner.op.mul(x, x), inner.op.mul(x, x)) });
    const outer = twice(scope);
    const first = conditional(scope, scope.op.constant('bool', true), twice, () => outer);
    const second = conditional(scope, scope.op.constant('bool', false), () => outer, twice);
    addOutput(graph, 'y', scope.op.add(first.x, second.x), [2]);
    expect(namesIn(graph).length).toBeGreaterThan(10);
    expect(repeated(namesIn(graph))).toEqual([]);
    expect(repeated(graphsIn(graph).flatMap(({ nodes }) => nodes.map(({ name }) => name)))).toEqual([]);
    expect(await runGraph(graph, { x: floats([1, 3]) })).toEqual({ y: { data: [4, 36], shape: [2] } });
  });
});

describe('constants', () => {
  test('that are equal are stored once, also from within a body', () => {
    const graph = createGraph('constants');
    const scope = createScope(graph);
    const body = createScope(createBody(graph, 'body'));
    expect(scope.op.constant('int64', [1, 2])).toEqual(body.op.constant('int64', [1, 2]));
    expect(body.op.constant('float32', 0.5)).toEqual(scope.op.constant('float32', 0.5));
    expect(graph.initializers.size).toBe(2);
  });

  test('that differ in value, type or shape are kept apart', async () => {
    const graph = createGraph('constants');
    const scope = createScope(graph);
    const constants = {
      list: scope.op.constant('int64', [1]),
      scalar: scope.op.constant('int64', 1),
      floatScalar: scope.op.constant('float32', 1),
      floatList: scope.op.constant('float32', [1]),
      matrix: scope.op.constant('float32', [1, 2, 3, 4, 5, 6], [2, 3]),
      transposed: scope.op.constant('float32', [1, 2, 3, 4, 5, 6], [3, 2]),
      flag: scope.op.constant('bool', true),
      otherFlag: scope.op.constant('bool', false),
      negative: scope.op.constant('int64', [-1]),
      empty: scope.op.constant('int64', []),
      infinite: scope.op.constant('float32', Number.NEGATIVE_INFINITY),
      large: scope.op.constant('int64', Number.MAX_SAFE_INTEGER),
    };
    for (const [name, value] of Object.entries(constants)) addOutput(graph, name, value);
    expect(graph.initializers.size).toBe(Object.keys(constants).length);
    expect(await runGraph(graph)).toEqual({
      list: { data: [1], shape: [1] },
      scalar: { data: [1], shape: [] },
      floatScalar: { data: [1], shape: [] },
      floatList: { data: [1], shape: [1] },
      matrix: { data: [1, 2, 3, 4, 5, 6], shape: [2, 3] },
      transposed: { data: [1, 2, 3, 4, 5, 6], shape: [3, 2] },
      flag: { data: [1], shape: [] },
      otherFlag: { data: [0], shape: [] },
      negative: { data: [-1], shape: [1] },
      empty: { data: [], shape: [0] },
      infinite: { data: [Number.NEGATIVE_INFINITY], shape: [] },
      large: { data: [Number.MAX_SAFE_INTEGER], shape: [] },
    });
  });
});

describe('attributes', () => {
  test('of every kind reach the runtime: numbers, lists, text, and those below zero', async () => {
    const graph = createGraph('attributes');
    const scope = createScope(graph);
    const x = addInput(graph, 'x', 'float32', [2, 3]);
    addOutput(graph, 'transposed', scope.op.transpose(x, [1, 0]), [3, 2]);
    addOutput(graph, 'joined', scope.op.concat([x, x], 1), [2, 6]);
    addOutput(graph, 'largest', scope.op.topK(x, scope.op.constant('int64', [1])).values, [2, 1]);
    addOutput(graph, 'sums', scope.op.reduceSum(x, -1), [2]);
    const [weight, bias] = [scope.op.constant('float32', [1, 1, 1]), scope.op.constant('float32', [0, 0, 0])];
    addOutput(graph, 'normal', scope.op.layerNormalization(x, weight, bias, 3), [2, 3]);
    const indices = scope.op.constant('int64', [0]);
    const added = scope.op.scatterElements(
      scope.op.constant('float32', [1, 2]),
      indices,
      scope.op.constant('float32', [5]),
      0,
      'add',
    );
    addOutput(graph, 'added', added, [2]);
    const outputs = await runGraph(graph, { x: floats([1, 5, 3, 0, 0, 0], [2, 3]) });
    expect(outputs).toMatchObject({
      transposed: { data: [1, 0, 5, 0, 3, 0], shape: [3, 2] },
      joined: { data: [1, 5, 3, 1, 5, 3, 0, 0, 0, 0, 0, 0], shape: [2, 6] },
      largest: { data: [5, 0], shape: [2, 1] },
      sums: { data: [9, 0], shape: [2] },
      added: { data: [6, 2], shape: [2] },
    });
    const deviation = Math.sqrt(8 / 3 + 3);
    const expected = [-2 / deviation, 2 / deviation, 0, 0, 0, 0];
    for (const [index, value] of (outputs['normal']?.data ?? []).entries())
      expect(value).toBeCloseTo(expected[index] ?? Number.NaN, 5);
    expect(outputs['normal']?.shape).toEqual([2, 3]);
  });

  test('an optional input that is left out is left out', async () => {
    const graph = createGraph('optional');
    const scope = createScope(graph);
    const x = addInput(graph, 'x', 'float32', ['rows', 2]);
    addOutput(graph, 'y', scope.op.gemm(x, scope.op.constant('float32', [1, 2, 3, 4, 5, 6], [3, 2])), ['rows', 3]);
    expect(await runGraph(graph, { x: floats([1, 10], [1, 2]) })).toEqual({ y: { data: [21, 43, 65], shape: [1, 3] } });
  });
});

describe('inputs and outputs', () => {
  test('of every element type go in and come out', async () => {
    const graph = createGraph('types');
    const inputs = {
      pixels: { data: Uint8Array.of(0, 255), shape: [2] },
      ids: { data: BigInt64Array.of(-1n, 2n ** 40n), shape: [2, 1] },
      scores: { data: Float32Array.of(0.5), shape: [] },
      flag: { data: Uint8Array.of(1), shape: [], isBool: true },
    };
    addOutput(graph, 'pixels.out', addInput(graph, 'pixels', 'uint8', ['count']), ['count']);
    addOutput(graph, 'ids.out', addInput(graph, 'ids', 'int64', ['count', 1]), ['count', 1]);
    addOutput(graph, 'scores.out', addInput(graph, 'scores', 'float32', []), []);
    addOutput(graph, 'flag.out', addInput(graph, 'flag', 'bool', []), []);
    expect(await runGraph(graph, inputs)).toEqual({
      'pixels.out': { data: [0, 255], shape: [2] },
      'ids.out': { data: [-1, 2 ** 40], shape: [2, 1] },
      'scores.out': { data: [0.5], shape: [] },
      'flag.out': { data: [1], shape: [] },
    });
  });

  test('of a shape that does not fit are refused by the runtime', async () => {
    const graph = createGraph('shapes');
    addOutput(graph, 'y', addInput(graph, 'x', 'float32', [2]), [2]);
    await expect(runGraph(graph, { x: floats([1, 2, 3]) })).rejects.toThrow();
  });

  test('the same value may be an output more than once', async () => {
    const graph = createGraph('outputs');
    const x = addInput(graph, 'x', 'float32', [1]);
    addOutput(graph, 'first', x, [1]);
    addOutput(graph, 'second', x, [1]);
    expect(await runGraph(graph, { x: floats([7]) })).toMatchObject({ first: { data: [7] }, second: { data: [7] } });
  });
});

describe('tensors that stay in their file', () => {
  const values = [0.1, -2.5, 3e-20, 4e20, -0, 1.5];
  const bytes = new Uint8Array(Float32Array.from(values).buffer);

  test.each([
    ['at an odd offset', 13],
    ['at the start', 0],
  ])('are read %s, equal to the same bytes inside the graph', async (_, offsetBytes) => {
    const file = Buffer.concat([Buffer.alloc(offsetBytes, 0xaa), bytes, Buffer.alloc(5, 0xbb)]);
    const folder = temporaryFolder({ 'weights/model.safetensors': file });
    const graph = createGraph('external');
    const external = { location: join('weights', 'model.safetensors'), offsetBytes, lengthBytes: bytes.length };
    const outside = addInitializer(graph, 'outside', 'float32', [2, 3], external);
    const inside = addInitializer(graph, 'inside', 'float32', [2, 3], bytes);
    const scope = createScope(graph);
    addOutput(graph, 'outside.out', outside, [2, 3]);
    addOutput(graph, 'inside.out', inside, [2, 3]);
    addOutput(graph, 'difference', scope.op.sub(outside, inside), [2, 3]);
    const outputs = await runGraph(graph, {}, folder);
    expect(outputs['outside.out']).toEqual(outputs['inside.out']);
    expect(outputs['outside.out']).toEqual({ data: Array.from(Float32Array.from(values)), shape: [2, 3] });
    expect(outputs['difference']?.data.map(Math.abs)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('are seen by the bodies of a graph', async () => {
    const folder = temporaryFolder({ weights: Buffer.concat([Buffer.alloc(3), bytes]) });
    const graph = createGraph('external');
    const scope = createScope(graph);
    const read = (inner: Scope) => {
      const external = { location: 'weights', offsetBytes: 3, lengthBytes: bytes.length };
      const weight = addInitializer(inner.op.graph, 'weight', 'float32', [6], external);
      return { sum: inner.op.add(weight, weight) };
    };
    const { sum } = conditional(scope, scope.op.constant('bool', true), read, read);
    addOutput(graph, 'sum', sum, [6]);
    const expected = Array.from(Float32Array.from(values.map((value) => value * 2)));
    expect(await runGraph(graph, {}, folder)).toEqual({ sum: { data: expected, shape: [6] } });
    expect(graph.initializers.size).toBe(2);
  });

  test('beyond the end of their file are refused when the graph is loaded', async () => {
    const folder = temporaryFolder({ weights: bytes });
    const graph = createGraph('external');
    const external = { location: 'weights', offsetBytes: 4, lengthBytes: bytes.length };
    addOutput(graph, 'y', addInitializer(graph, 'x', 'float32', [6], external), [6]);
    await expect(runGraph(graph, {}, folder)).rejects.toThrow();
  });
});

describe('an initializer whose name stands for another tensor already is refused', () => {
  const bytes = new Uint8Array(24);
  const external = { location: 'weights', offsetBytes: 8, lengthBytes: 24 };

  test.each<[string, Parameters<typeof addInitializer>[2], readonly number[], Uint8Array | typeof external, string]>([
    [
      'type',
      'int32',
      [2, 3],
      bytes,
      'float32 [2, 3] of 24 bytes in the graph, got int32 [2, 3] of 24 bytes in the graph.',
    ],
    ['shape', 'float32', [6], bytes, 'got float32 [6] of 24 bytes in the graph.'],
    ['value', 'float32', [2, 3], bytes.with(0, 1), 'got float32 [2, 3] of 24 bytes in the graph.'],
    ['origin', 'float32', [2, 3], external, 'got float32 [2, 3] of 24 bytes at 8 in weights.'],
  ])('in the graph, of another %s', (_, elementType, shape, data, message) => {
    const graph = createGraph('taken');
    addInitializer(graph, 'w', 'float32', [2, 3], bytes);
    const write = () => addInitializer(createBody(graph, 'body'), 'w', elementType, shape, data);
    expect(write).toThrow(RangeError);
    expect(write).toThrow('w: expected the tensor that has this name already, float32 [2, 3]');
    expect(write).toThrow(message);
  });

  test.each<[string, typeof external | Uint8Array]>([
    ['at another offset', { ...external, offsetBytes: 0 }],
    ['in another file', { ...external, location: 'other' }],
    ['of another length', { ...external, lengthBytes: 12 }],
    ['in the graph', bytes],
  ])('in a file, %s', (_, data) => {
    const graph = createGraph('taken');
    addInitializer(graph, 'w', 'float32', [2, 3], external);
    expect(() => addInitializer(graph, 'w', 'float32', [2, 3], data)).toThrow(
      'w: expected the tensor that has this name already, float32 [2, 3] of 24 bytes at 8 in weights, got',
    );
  });

  test('and equal ones are one tensor', () => {
    const graph = createGraph('shared');
    const add = (data: typeof external | Uint8Array, name: string) =>
      addInitializer(graph, name, 'float32', [2, 3], data);
    expect(add({ ...external }, 'w')).toEqual(add({ ...external }, 'w'));
    expect(add(Uint8Array.from(bytes), 'v')).toEqual(add(bytes, 'v'));
    expect([...graph.initializers.keys()]).toEqual(['w', 'v']);
  });
});

describe('an output of a body', () => {
  test('is the value that the body computes; others go through an Identity', () => {
    const graph = createGraph('outer');
    const x = addInput(graph, 'x', 'float32', [1]);
    const outside = createScope(graph).op.relu(x);
    const body = createBody(graph, 'body');
    const computed = createScope(body).op.relu(outside);
    for (const [index, value] of [computed, computed, outside].entries()) addBodyOutput(body, `out_${index}`, value);
    expect(body.outputs.map(({ name }) => name)).toEqual([computed.name, 'out_1', 'out_2']);
    expect(body.nodes.map(({ operator, inputs }) => [operator, inputs])).toEqual([
      ['Relu', [outside.name]],
      ['Identity', [computed.name]],
      ['Identity', [outside.name]],
    ]);
  });
});

test('loops and branches are graphs of their own, and the initializers are those of the outermost', () => {
  const graph = createGraph('nested');
  const scope = createScope(graph);
  loop(scope, { x: scope.op.constant('float32', [1, 2]) }, (inner, iteration, { x }) => ({
    state: conditional(
      inner,
      inner.op.less(iteration, inner.op.constant('int64', 3)),
      (branch) => ({ x: branch.op.mul(x, branch.op.constant('float32', 2)) }),
      () => ({ x }),
    ),
    goOn: inner.op.less(iteration, inner.op.constant('int64', 5)),
  }));
  expect(graphsIn(graph)).toHaveLength(4);
  expect(new Set(graphsIn(graph).map(({ initializers }) => initializers)).size).toBe(1);
});

describe('initializers that may be overridden', () => {
  test('are computed with like others, and need not be given', async () => {
    const graph = createGraph('overridable');
    const scope = createScope(graph);
    const x = addInput(graph, 'x', 'float32', [1, 2]);
    const weight = scope.op.constant('float32', [1, 2, 3, 4, 5, 6], [3, 2]);
    addOutput(graph, 'y', scope.op.gemm(x, weight));
    const overridable = withOverridable(graph, ({ shape }) => shape.length === 2);
    expect(graph.inputs.map(({ name }) => name)).toEqual(['x']);
    expect(overridable.inputs.map(({ name }) => name)).toEqual(['x', weight.name]);
    const { y } = await runGraph(overridable, { x: floats([10, 1], [1, 2]) });
    expect(y).toEqual({ data: [12, 34, 56], shape: [1, 3] });
  });
});

test('a graph knows the initializers that its own nodes cast', () => {
  const graph = createGraph('casts');
  const { op } = createScope(graph);
  const constant = op.constant('float32', [1, 2]);
  op.cast(addInput(graph, 'x', 'float32', [2]), 'float16');
  op.cast(constant, 'float32');
  createScope(createBody(graph, 'body')).op.cast(constant, 'float16');
  expect(graph.castInitializers).toEqual(new Set());
  op.cast(constant, 'float16');
  expect(graph.castInitializers).toEqual(new Set([constant.name]));
});

describe('named dimensions', () => {
  test('are written where they follow from the others, and hold for any length', async () => {
    const graph = createGraph('named');
    const scope = createScope(graph);
    const x = addInput(graph, 'x', 'float32', ['rows', 4]);
    const pairs = scope.op.reshapeNamed(x, 'pairs', [2]);
    addOutput(graph, 'y', scope.op.reshapeNamed(scope.op.add(pairs, pairs), 'rows', [2, 2]));
    expect(graph.valueInfos.map(({ shape }) => shape)).toEqual([
      ['pairs', 2],
      ['rows', 2, 2],
    ]);
    for (const rows of [1, 3]) {
      const data = Array.from({ length: rows * 4 }, (_, index) => index);
      const { y } = await runGraph(graph, { x: floats(data, [rows, 4]) });
      expect(y).toEqual({ data: data.map((value) => 2 * value), shape: [rows, 2, 2] });
    }
  });
});
