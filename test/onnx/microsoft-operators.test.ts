import { describe, expect, test } from 'vitest';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { expectClose } from '../support/close-to.ts';
import { evaluate } from '../support/evaluate.ts';

/** Operators of the lean form, against the operators of ONNX that they stand for. */

const TOLERANCE = { absolute: 1e-5 };
const [BATCH, TOKENS, PAST, WIDTH, HEADS] = [2, 3, 2, 4, 2];

/** Numbers that differ from each other. */
function numbers({ op }: Scope, shape: readonly number[], seed: number): Value<'float32'> {
  const count = shape.reduce((product, size) => product * size, 1);
  const values = Array.from({ length: count }, (_, index) => Math.sin(seed + index * 1.7));
  return op.constant('float32', values, shape);
}

async function expectEqual(
  write: (scope: Scope) => { readonly got: Value<'float32'>; readonly expected: Value<'float32'> },
): Promise<void> {
  const { got, expected } = await evaluate(write);
  expect(got?.shape).toEqual(expected?.shape);
  expect(got?.data.length).toBeGreaterThan(0);
  expectClose(got?.data ?? [], expected?.data ?? [], TOLERANCE);
}

describe('a residual and its norm', () => {
  const inputs = (scope: Scope, skipShape: readonly number[]) => ({
    x: numbers(scope, [BATCH, TOKENS, WIDTH], 1),
    skip: numbers(scope, skipShape, 2),
    weight: numbers(scope, [WIDTH], 3),
    normBias: numbers(scope, [WIDTH], 4),
    bias: numbers(scope, [WIDTH], 5),
    epsilon: 1e-5,
  });

  test.each([[[BATCH, TOKENS, WIDTH]], [[1, TOKENS, WIDTH]]])(
    'are those of the sum, with a residual of %j',
    async (shape) => {
      await expectEqual((scope) => {
        const { op } = scope;
        const all = inputs(scope, shape);
        const sum = op.add(op.add(all.x, all.bias), all.skip);
        return {
          got: op.microsoft.skipLayerNormalization(all),
          expected: op.layerNormalization(sum, all.weight, all.normBias, all.epsilon),
        };
      });
    },
  );

  test('come with the sum where it is asked for', async () => {
    await expectEqual((scope) => {
      const all = inputs(scope, [BATCH, TOKENS, WIDTH]);
      const { normalized, sum } = scope.op.microsoft.sumAndLayerNormalization(all);
      const expected = scope.op.add(scope.op.add(all.x, all.bias), all.skip);
      const norm = scope.op.layerNormalization(expected, all.weight, all.normBias, all.epsilon);
      return { got: scope.op.concat([sum, normalized], 0), expected: scope.op.concat([expected, norm], 0) };
    });
  });
});

test.each<[string, (scope: Scope, x: Value<'float32'>, bias: Value<'float32'>) => readonly Value<'float32'>[]]>([
  ['BiasGelu', ({ op }, x, bias) => [op.microsoft.biasGelu(x, bias), op.gelu(op.add(x, bias))]],
  ['FastGelu', ({ op }, x, bias) => [op.microsoft.fastGelu(x, bias), op.gelu(op.add(x, bias), 'tanh')]],
  ['QuickGelu', ({ op }, x) => [op.microsoft.quickGelu(x, 1.5), op.mul(x, op.sigmoid(op.mul(x, 1.5)))]],
])('%s is the activation of ONNX after the sum', async (_, write) => {
  await expectEqual((scope) => {
    const [got, expected] = write(scope, numbers(scope, [TOKENS, WIDTH], 1), numbers(scope, [WIDTH], 2));
    if (got === undefined || expected === undefined) throw new Error('Expected two values.');
    return { got, expected };
  });
});

describe('self-attention with its projections', () => {
  const weights = (scope: Scope) => ({
    x: numbers(scope, [BATCH, TOKENS, WIDTH], 1),
    weight: numbers(scope, [WIDTH, 3 * WIDTH], 2),
    projectionBias: numbers(scope, [3 * WIDTH], 3),
  });

  /** Query, key and value, [batch, tokens, width] each. */
  function projected(scope: Scope): readonly [Value<'float32'>, Value<'float32'>, Value<'float32'>] {
    const { op } = scope;
    const { x, weight, projectionBias } = weights(scope);
    const rows = op.gemm(op.reshape(x, [-1, WIDTH]), op.transpose(weight, [1, 0]), projectionBias);
    const all = op.reshape(rows, [BATCH, TOKENS, 3 * WIDTH]);
    const part = (index: number) => op.slice(all, [index * WIDTH], [(index + 1) * WIDTH], [2]);
    return [part(0), part(1), part(2)];
  }

  /** [batch, 1, tokens, keys]: 0 where a token looks. */
  function bias({ op }: Scope, keyCount: number, isSeen: (row: number, token: number, key: number) => boolean) {
    const values = [0, 1].flatMap((row) =>
      [0, 1, 2].flatMap((token) => Array.from({ length: keyCount }, (_, key) => (isSeen(row, token, key) ? 0 : -1e9))),
    );
    return op.constant('float32', values, [BATCH, 1, TOKENS, keyCount]);
  }

  test.each([true, false])('is attention over the projections, where later tokens are hidden: %j', async (isCausal) => {
    await expectEqual((scope) => {
      const [query, key, value] = projected(scope);
      const causal = bias(scope, TOKENS, (_, token, position) => !isCausal || position <= token);
      return {
        got: scope.op.microsoft.selfAttention(weights(scope), { headCount: HEADS, isCausal }),
        expected: scope.op.microsoft.multiHeadAttention({ query, key, value, bias: causal }, HEADS),
      };
    });
  });

  test('looks at no key beyond the length of its row', async () => {
    await expectEqual((scope) => {
      const [query, key, value] = projected(scope);
      const mask = scope.op.constant('int32', [3, 1]);
      const within = bias(scope, TOKENS, (row, _, position) => position < (row === 0 ? 3 : 1));
      return {
        got: scope.op.microsoft.selfAttention({ ...weights(scope), mask }, { headCount: HEADS, isCausal: false }),
        expected: scope.op.microsoft.multiHeadAttention({ query, key, value, bias: within }, HEADS),
      };
    });
  });

  test.each(['output', 'present'] as const)(
    'goes on from a cache whose padding it does not look at: %s',
    async (part) => {
      await expectEqual((scope) => {
        const { op } = scope;
        const [query, key, value] = projected(scope);
        const past = numbers(scope, [2, BATCH, HEADS, PAST, WIDTH / HEADS], 4);
        const keyCount = PAST + TOKENS;
        const mask = op.constant('int32', [1, 1, 1, 1, 1, 0, 1, 1, 1, 1], [BATCH, keyCount]); // Row 1 begins with padding.
        const seen = bias(scope, keyCount, (row, token, position) => position <= PAST + token && position >= row);
        const { output, present } = op.microsoft.cachedSelfAttention(
          { ...weights(scope), mask, past },
          { headCount: HEADS, isCausal: true },
        );
        const [pastKey, pastValue] = [op.gather(past, 0, 0), op.gather(past, 1, 0)];
        const expected = op.microsoft.cachedMultiHeadAttention(
          { query, key, value, bias: seen, pastKey, pastValue },
          HEADS,
        );
        const stacked = op.concat(
          [op.unsqueeze(expected.presentKey, [0]), op.unsqueeze(expected.presentValue, [0])],
          0,
        );
        return part === 'output' ? { got: output, expected: expected.output } : { got: present, expected: stacked };
      });
    },
  );

  test('refuses what does not fit', () => {
    const write = (scope: Scope, other: object) =>
      scope.op.microsoft.selfAttention({ ...weights(scope), ...other }, { headCount: HEADS, isCausal: true });
    const refused = async (other: (scope: Scope) => object, message: string) =>
      await expect(evaluate((scope) => ({ y: write(scope, other(scope)) }))).rejects.toThrow(message);
    return Promise.all([
      refused(
        (scope) => ({ weight: numbers(scope, [WIDTH + 1, 3 * WIDTH], 1) }),
        'Attention: expected x [batch, tokens, in]',
      ),
      refused((scope) => ({ projectionBias: numbers(scope, [WIDTH], 1) }), 'its bias [3 * width]'),
    ]);
  });
});

test('the bias of a query is added before attention over keys that were split into heads', async () => {
  await expectEqual((scope) => {
    const { op } = scope;
    const query = numbers(scope, [BATCH, TOKENS, WIDTH], 1);
    const [key, value] = [2, 3].map((seed) => numbers(scope, [BATCH, HEADS, PAST, WIDTH / HEADS], seed));
    if (key === undefined || value === undefined) throw new Error('Expected keys and values.');
    const bias = numbers(scope, [WIDTH], 4);
    const projectionBias = op.concat([bias, op.fill('float32', 0, [2 * WIDTH])], 0);
    return {
      got: op.microsoft.multiHeadAttention({ query, key, value, projectionBias }, HEADS),
      expected: op.microsoft.multiHeadAttention({ query: op.add(query, bias), key, value }, HEADS),
    };
  });
});
