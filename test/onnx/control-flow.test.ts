import { describe, expect, test } from 'vitest';
import { collect, conditional, loop } from '../../onnx/control-flow.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { flatten, mapValues } from '../../onnx/value-tree.ts';
import { createSession, type RuntimeTensor, type Session } from '../../pipeline/sessions/runtime.ts';

/** Loads a graph and runs it once for each set of inputs. */
async function runGraph(
  graph: Graph,
  inputSets: readonly Readonly<Record<string, RuntimeTensor>>[],
): Promise<readonly Readonly<Record<string, readonly number[]>>[]> {
  const session = await createSession(graph, { executionProvider: 'cpu', threadCount: 1 });
  const results: Readonly<Record<string, readonly number[]>>[] = [];
  for (const inputs of inputSets) results.push(await runOnce(session, inputs));
  await session.release();
  return results;
}

async function runOnce(session: Session, inputs: Readonly<Record<string, RuntimeTensor>>) {
  const outputs = await session.run(inputs);
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Array.from(data, Number)]));
}

function ints(...values: readonly number[]): RuntimeTensor {
  return { data: BigInt64Array.from(values, BigInt), shape: [values.length] };
}

function scalar(value: number): RuntimeTensor {
  return { data: BigInt64Array.of(BigInt(value)), shape: [] };
}

function flag(value: boolean): RuntimeTensor {
  return { data: Uint8Array.of(value ? 1 : 0), shape: [], isBool: true };
}

interface Beams {
  readonly scores: Value<'float32'>;
  readonly caches: readonly { readonly keys: Value<'int64'>; readonly values: Value<'int64'> }[];
}

function addOutputs(graph: Graph, tree: object): void {
  for (const [path, value] of flatten(tree)) addOutput(graph, `out.${path}`, value);
}

describe('a condition', () => {
  function branches() {
    const graph = createGraph('if');
    const scope = createScope(graph, 'model');
    const condition = addInput(graph, 'condition', 'bool', []);
    const x = addInput(graph, 'x', 'int64', ['length']);
    return { graph, scope, condition, x };
  }

  test('gives the structure of the branch that it takes, in its order', async () => {
    const { graph, scope, condition, x } = branches();
    const result: Beams = conditional<Beams>(
      scope,
      condition,
      (inner) => ({
        scores: inner.op.constant('float32', [0.5]),
        caches: [
          { keys: inner.op.add(x, x), values: x },
          { keys: x, values: x },
        ],
      }),
      // An equal structure, written in another order.
      (inner) => ({
        caches: [
          { values: inner.op.mul(x, x), keys: x },
          { values: x, keys: inner.op.constant('int64', [9]) },
        ],
        scores: inner.op.constant('float32', [-0.5]),
      }),
    );
    addOutputs(graph, result);
    const [yes, no] = await runGraph(graph, [
      { condition: flag(true), x: ints(3, 4) },
      { condition: flag(false), x: ints(3, 4) },
    ]);
    expect(yes).toEqual({
      'out.scores': [0.5],
      'out.caches.0.keys': [6, 8],
      'out.caches.0.values': [3, 4],
      'out.caches.1.keys': [3, 4],
      'out.caches.1.values': [3, 4],
    });
    expect(no).toEqual({
      'out.scores': [-0.5],
      'out.caches.0.keys': [3, 4],
      'out.caches.0.values': [9, 16],
      'out.caches.1.keys': [9],
      'out.caches.1.values': [3, 4],
    });
  });

  test('computes only the branch that it takes', async () => {
    const { graph, scope, condition, x } = branches();
    const impossible = (inner: Scope) => ({ y: inner.op.gather(x, inner.op.constant('int64', [1_000]), 0) });
    const { y } = conditional(scope, condition, impossible, () => ({ y: x }));
    addOutput(graph, 'y', y, ['any']);
    const session = await createSession(graph, { executionProvider: 'cpu', threadCount: 1 });
    expect(await runOnce(session, { condition: flag(false), x: ints(1) })).toEqual({ y: [1] });
    await expect(session.run({ condition: flag(true), x: ints(1) })).rejects.toThrow();
    await session.release();
  });

  test('may stand within a branch of another', async () => {
    const { graph, scope, condition, x } = branches();
    const other = addInput(graph, 'other', 'bool', []);
    const pick = (inner: Scope, when: number, otherwise: number) =>
      conditional(
        inner,
        other,
        (innermost) => ({ y: innermost.op.add(x, innermost.op.constant('int64', [when])) }),
        (innermost) => ({ y: innermost.op.add(x, innermost.op.constant('int64', [otherwise])) }),
      );
    const { y } = conditional(
      scope,
      condition,
      (inner) => pick(inner, 1, 2),
      (inner) => pick(inner, 3, 4),
    );
    addOutput(graph, 'y', y, ['length']);
    const choices = [true, false].flatMap((first) => [true, false].map((second) => [first, second] as const));
    const inputs = choices.map(([first, second]) => ({ condition: flag(first), other: flag(second), x: ints(10) }));
    expect(await runGraph(graph, inputs)).toEqual([{ y: [11] }, { y: [12] }, { y: [13] }, { y: [14] }]);
  });

  test.each<[string, (x: Value<'int64'>) => readonly [Record<string, object>, Record<string, object>], string]>([
    [
      'the second lacks a value',
      (x) => [{ scores: x, tokens: x }, { scores: x }],
      'expected values at scores, tokens, got scores.',
    ],
    [
      'the second has one more',
      (x) => [{ scores: x }, { scores: x, tokens: x }],
      'expected values at scores, got scores, tokens.',
    ],
    [
      'one more is in a list',
      (x) => [{ caches: [x] }, { caches: [x, x] }],
      'expected values at caches.0, got caches.0, caches.1.',
    ],
    ['a key has another name', (x) => [{ scores: x }, { score: x }], 'expected values at scores, got score.'],
  ])('whose branches differ is refused while the graph is written: %s', (_, branchesOf, message) => {
    const { scope, condition, x } = branches();
    const [whenTrue, whenFalse] = branchesOf(x);
    const write = () =>
      conditional<object>(
        scope,
        condition,
        () => whenTrue,
        () => whenFalse,
      );
    expect(write).toThrow(new RangeError(`model/if.false: ${message}`));
  });

  test('whose branches differ in a type is refused, and the value named', () => {
    const { scope, condition, x } = branches();
    const write = () =>
      conditional<{ x: Value }>(
        scope,
        condition,
        () => ({ x }),
        ({ op }) => ({ x: op.cast(x, 'float32') }),
      );
    expect(write).toThrow(new RangeError('model/if.false: expected int64 at x, got float32.'));
  });
});

describe('a loop', () => {
  test('goes on while its body says so, and at least once', async () => {
    const graph = createGraph('loop');
    const scope = createScope(graph, 'count');
    const limit = addInput(graph, 'limit', 'int64', []);
    const { sum } = loop(scope, { sum: scope.op.constant('int64', 0) }, (inner, iteration, state) => {
      const done = inner.op.add(iteration, inner.op.constant('int64', 1));
      return { state: { sum: inner.op.add(state.sum, done) }, goOn: inner.op.less(done, limit) };
    });
    addOutput(graph, 'sum', sum, []);
    const limits = [0, 1, 2, 10];
    expect(
      await runGraph(
        graph,
        limits.map((value) => ({ limit: scalar(value) })),
      ),
    ).toEqual([{ sum: [1] }, { sum: [1] }, { sum: [3] }, { sum: [55] }]);
  });

  test('carries a nested structure whose shapes grow', async () => {
    const graph = createGraph('loop');
    const scope = createScope(graph, 'generate');
    const start = addInput(graph, 'start', 'int64', ['length']);
    const steps = addInput(graph, 'steps', 'int64', []);
    const initial: Beams & { tokens: Value<'int64'> } = {
      scores: scope.op.constant('float32', [1]),
      caches: [
        { keys: scope.op.constant('int64', []), values: start },
        { keys: start, values: scope.op.constant('int64', []) },
      ],
      tokens: start,
    };
    const final = loop(scope, initial, (inner, iteration, state) => {
      const step = inner.op.unsqueeze(iteration, [0]);
      const last = inner.op.slice(
        state.tokens,
        inner.op.constant('int64', [-1]),
        inner.op.constant('int64', [Number.MAX_SAFE_INTEGER]),
        [0],
      );
      return {
        state: {
          tokens: inner.op.concat([state.tokens, inner.op.add(last, inner.op.constant('int64', [10]))], 0),
          scores: inner.op.add(state.scores, state.scores),
          caches: state.caches.map(({ keys, values }) => ({
            keys: inner.op.concat([keys, step], 0),
            values: inner.op.concat([last, values], 0),
          })),
        },
        goOn: inner.op.less(inner.op.add(iteration, inner.op.constant('int64', 1)), steps),
      };
    });
    addOutputs(graph, final);
    const [once, thrice] = await runGraph(graph, [
      { start: ints(7), steps: scalar(1) },
      { start: ints(7, 8), steps: scalar(3) },
    ]);
    expect(once).toEqual({
      'out.scores': [2],
      'out.caches.0.keys': [0],
      'out.caches.0.values': [7, 7],
      'out.caches.1.keys': [7, 0],
      'out.caches.1.values': [7],
      'out.tokens': [7, 17],
    });
    expect(thrice).toEqual({
      'out.scores': [8],
      'out.caches.0.keys': [0, 1, 2],
      'out.caches.0.values': [28, 18, 8, 7, 8],
      'out.caches.1.keys': [7, 8, 0, 1, 2],
      'out.caches.1.values': [28, 18, 8],
      'out.tokens': [7, 8, 18, 28, 38],
    });
  });

  test('may hand on a value as it came, hand on one twice, or exchange two', async () => {
    const graph = createGraph('loop');
    const scope = createScope(graph, 'exchange');
    const initial = {
      a: scope.op.constant('int64', [1]),
      b: scope.op.constant('int64', [2]),
      same: scope.op.constant('int64', [3]),
      copy: scope.op.constant('int64', [4]),
    };
    const final = loop(scope, initial, (inner, iteration, { a, b, same }) => {
      const sum = inner.op.add(a, b);
      return {
        state: { a: b, b: sum, same, copy: sum },
        goOn: inner.op.less(iteration, inner.op.constant('int64', 3)),
      };
    });
    addOutputs(graph, final);
    // 1 2 3 5 8 13
    expect(await runGraph(graph, [{}])).toEqual([{ 'out.a': [8], 'out.b': [13], 'out.same': [3], 'out.copy': [13] }]);
  });

  test('sees values from outside, and may stop by a condition from outside', async () => {
    const graph = createGraph('loop');
    const scope = createScope(graph, 'outside');
    const x = addInput(graph, 'x', 'int64', []);
    const never = scope.op.constant('bool', false);
    const { y } = loop(scope, { y: scope.op.constant('int64', 1) }, () => ({ state: { y: x }, goOn: never }));
    addOutput(graph, 'y', y, []);
    expect(await runGraph(graph, [{ x: scalar(42) }])).toEqual([{ y: [42] }]);
  });

  test('may hold a condition and another loop', async () => {
    const graph = createGraph('loop');
    const scope = createScope(graph, 'nested');
    const size = addInput(graph, 'size', 'int64', []);
    const one = (inner: Scope) => inner.op.constant('int64', 1);
    const { total } = loop(scope, { total: scope.op.constant('int64', 0) }, (outer, row, state) => {
      const { count } = loop(outer, { count: state.total }, (inner, column, { count }) => ({
        state: conditional(
          inner,
          inner.op.lessOrEqual(column, row),
          (branch) => ({ count: branch.op.add(count, one(branch)) }),
          () => ({ count }),
        ),
        goOn: inner.op.less(inner.op.add(column, one(inner)), size),
      }));
      return { state: { total: count }, goOn: outer.op.less(outer.op.add(row, one(outer)), size) };
    });
    addOutput(graph, 'total', total, []);
    const sizes = [1, 4, 10].map((value) => ({ size: scalar(value) }));
    expect(await runGraph(graph, sizes)).toEqual([{ total: [1] }, { total: [10] }, { total: [55] }]);
  });

  test.each<[string, readonly string[], string]>([
    ['lacks a value', ['scores'], 'expected values at scores, tokens, got scores.'],
    ['has one more', ['scores', 'tokens', 'ends'], 'expected values at scores, tokens, got ends, scores, tokens.'],
  ])('whose next state %s is refused while the graph is written', (_, names, message) => {
    const graph = createGraph('loop');
    const scope = createScope(graph, 'lacking');
    const zero = scope.op.constant('int64', 0);
    const initial: Record<string, Value> = { scores: zero, tokens: zero };
    const write = () =>
      loop(scope, initial, (inner) => ({
        state: Object.fromEntries(names.map((name) => [name, zero])),
        goOn: inner.op.constant('bool', false),
      }));
    expect(write).toThrow(new RangeError(`lacking/body: ${message}`));
  });
});

describe('a structure of values', () => {
  const value = (name: string): Value<'int64'> => ({ name, elementType: 'int64' });
  const tree = {
    beams: { scores: value('s') },
    caches: [{ keys: value('k0') }, { keys: value('k1') }],
    last: value('l'),
  };

  test('is flat with its paths, in the order of its keys', () => {
    expect(flatten(tree).map(([path, { name }]) => [path, name])).toEqual([
      ['beams.scores', 's'],
      ['caches.0.keys', 'k0'],
      ['caches.1.keys', 'k1'],
      ['last', 'l'],
    ]);
  });

  test('keeps its shape when its values are replaced', () => {
    expect(mapValues(tree, (path) => value(path))).toEqual({
      beams: { scores: value('beams.scores') },
      caches: [{ keys: value('caches.0.keys') }, { keys: value('caches.1.keys') }],
      last: value('last'),
    });
  });
});

describe('a loop that collects', () => {
  /** Squares of `count` numbers and the numbers beside them: [count, 2]. */
  function squares() {
    const graph = createGraph('collect');
    const scope = createScope(graph, 'model');
    const count = addInput(graph, 'count', 'int64', []);
    const offset = addInput(graph, 'offset', 'int64', ['one']);
    const collected = collect(scope, count, [2], ({ op }, iteration) => {
      const number = op.add(op.unsqueeze(iteration, [0]), offset);
      return op.concat([number, op.mul(number, number)], 0);
    });
    expect(collected.shape).toEqual([undefined, 2]);
    addOutput(graph, 'squares', collected);
    addOutput(graph, 'size', scope.op.dimension(collected, 0));
    return graph;
  }

  test('stacks the values of all iterations, and has none where there is no iteration', async () => {
    const results = await runGraph(
      squares(),
      [3, 1, 0].map((count) => ({ count: scalar(count), offset: ints(2) })),
    );
    expect(results).toEqual([
      { squares: [2, 4, 3, 9, 4, 16], size: [3] },
      { squares: [2, 4], size: [1] },
      { squares: [], size: [0] },
    ]);
  });
});
