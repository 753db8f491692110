import { describe, expect, test } from 'vitest';
import { type BeamState, beamSearchStep, initialBeamState } from '../../../models/generation/beam-search.ts';
import { earlyStopping } from '../../../models/generation/parameters.ts';
import type { Scope } from '../../../onnx/scope.ts';
import { expectClose } from '../../support/close-to.ts';
import { constantParameters, type Evaluated, evaluate, matrix } from '../../support/evaluate.ts';

/**
 * One step of one row with two beams and four tokens; token 3 ends. The beams are [1] with a score of -0.5 and [2] with -1.
 *
 * Accumulated scores: beam 0: -1.5, -2.5, -3.5, -0.6; beam 1: -1.2, -5, -6, -7.
 * The best four: beam 0 with 3 (-0.6, ends), beam 1 with 0 (-1.2), beam 0 with 0 (-1.5), beam 0 with 1 (-2.5).
 */
const scores = [
  [-1, -2, -3, -0.1],
  [-0.2, -4, -5, -6],
];
const VERY_LOW = -1e9;
const TOLERANCE = { absolute: 1e-6, relative: 1e-6 };

interface StepOptions {
  readonly best?: { readonly scores: readonly number[]; readonly finished: readonly number[] };
  readonly improvable?: boolean;
  readonly done?: boolean;
  readonly maxNewTokens?: number;
  readonly lengthPenalty?: number;
  readonly early?: keyof typeof earlyStopping;
  readonly endTokenIds?: readonly [number, ...number[]];
  readonly uniforms?: readonly number[];
}

function stateOf(scope: Scope, { best, improvable = true, done = false }: StepOptions): BeamState {
  const { op } = scope;
  const finished = matrix(scope, 'int64', [best?.finished ?? [0, 0]]);
  return {
    runningScores: matrix(scope, 'float32', [[-0.5, -1]]),
    bestTokenIds: op.constant('int64', [1, 1], [1, 2, 1]),
    bestTokenLogprobs: op.constant('float32', [0, 0], [1, 2, 1]),
    bestEnds: matrix(scope, 'int64', [[0, 0]]),
    bestScores: matrix(scope, 'float32', [best?.scores ?? [VERY_LOW, VERY_LOW]]),
    bestFinished: op.equal(finished, 1),
    improvable: op.constant('bool', improvable, [1, 1]),
    done: op.constant('bool', done, [1, 1]),
  };
}

function step(options: StepOptions = {}): Promise<Readonly<Record<string, Evaluated>>> {
  return evaluate((scope) => {
    const { op } = scope;
    const parameters = constantParameters(scope, {
      numBeams: op.constant('int64', 2),
      lengthPenalty: op.constant('float32', options.lengthPenalty ?? 1),
      earlyStopping: op.constant('int64', earlyStopping[options.early ?? 'false']),
      doSample: op.constant('bool', options.uniforms !== undefined),
      uniforms: op.constant('float32', [0, 0, 0, 0, ...(options.uniforms ?? [0, 0, 0, 0])], [1, 2, 4]),
    });
    const running = {
      tokenIds: matrix(scope, 'int64', [[1], [2]]),
      tokenLogprobs: matrix(scope, 'float32', [[-0.5], [-1]]),
    };
    return beamSearchStep(scope, matrix(scope, 'float32', scores), running, stateOf(scope, options), {
      parameters,
      generatedCount: op.constant('int64', 1),
      maxNewTokens: matrix(scope, 'int64', [[options.maxNewTokens ?? 9]]),
      firstSequence: matrix(scope, 'int64', [[0]]),
      rowCount: op.constant('int64', [1]),
      endTokenIds: options.endTokenIds ?? [3],
      padTokenId: 7,
    });
  });
}

const data = (result: Readonly<Record<string, Evaluated>>, name: string) => result[name]?.data ?? [];

describe('a step', () => {
  test('goes on with the best continuations that do not end', async () => {
    const result = await step();
    expect(result['tokenIds']).toEqual({ data: [2, 0, 1, 0], shape: [2, 2] });
    expect(data(result, 'sources')).toEqual([1, 0]);
    expectClose(data(result, 'state.runningScores'), [-1.2, -1.5], TOLERANCE);
    expectClose(data(result, 'tokenLogprobs'), [-1, -0.2, -0.5, -1], TOLERANCE);
  });

  test('keeps the continuation that ends, with its score over its length', async () => {
    const result = await step();
    expect(result['state.bestTokenIds']?.shape).toEqual([1, 2, 2]);
    expect(data(result, 'state.bestTokenIds').slice(0, 2)).toEqual([1, 3]);
    expectClose(data(result, 'state.bestTokenLogprobs').slice(0, 2), [-0.5, -0.1], TOLERANCE);
    expect(data(result, 'state.bestFinished')).toEqual([1, 0]);
    expect(data(result, 'state.bestEnds')[0]).toBe(2);
    expectClose(data(result, 'state.bestScores'), [-0.6 / 2, VERY_LOW], TOLERANCE);
    expect([data(result, 'state.improvable'), data(result, 'state.done')]).toEqual([[1], [0]]);
  });

  test('divides scores by a power of the length', async () => {
    const result = await step({ lengthPenalty: 2 });
    expectClose(data(result, 'state.bestScores').slice(0, 1), [-0.6 / 4], TOLERANCE);
  });

  test('ranks what ends among what ended before, and pads the older ones', async () => {
    const result = await step({ best: { scores: [-0.2, -0.4], finished: [1, 1] } });
    expectClose(data(result, 'state.bestScores'), [-0.2, -0.3], TOLERANCE);
    expect(data(result, 'state.bestTokenIds')).toEqual([1, 7, 1, 3]);
    expect(data(result, 'state.bestEnds')).toEqual([0, 2]);
  });

  test('with two end tokens keeps three candidates of each beam, and drops one that ends beyond the beams', async () => {
    // Of the best six, beam 1 with 0 ends and comes second; beam 0 with 0 ends as well, and comes third.
    const result = await step({ endTokenIds: [3, 0] });
    expectClose(data(result, 'state.bestScores'), [-0.3, -0.6], TOLERANCE);
    expect(data(result, 'state.bestTokenIds')).toEqual([1, 3, 2, 0]);
    expectClose(data(result, 'state.runningScores'), [-2.5, -3.5], TOLERANCE);
    expect(result['tokenIds']?.data).toEqual([1, 1, 1, 2]);
  });

  test('draws its candidates in order where it samples', async () => {
    // Positions are those of beam 0, best first, and then those of beam 1: -0.6, -1.5, -2.5, -3.5, -1.2, -5, -6, -7.
    const largestFirst = await step({ uniforms: [0, 0, 0, 0] });
    expectClose(data(largestFirst, 'state.bestScores').slice(0, 1), [-0.3], TOLERANCE);
    expect(largestFirst['tokenIds']?.data).toEqual([1, 0, 1, 1]); // Beam 0's candidates come before those of beam 1.
    const last = await step({ uniforms: [0.9999, 0.9999, 0.9999, 0.9999] });
    expectClose(data(last, 'state.runningScores'), [-1.2, -5], TOLERANCE);
    expect(last['tokenIds']?.data).toEqual([2, 0, 2, 1]);
  });
});

describe('the search of a row is over', () => {
  const isOver = async (options: StepOptions) => data(await step(options), 'state.done')[0] === 1;
  const full = { scores: [-0.3, -0.4], finished: [1, 1] };

  test.each<[string, StepOptions, boolean]>([
    ['not while running beams may win', {}, false],
    ['when no running beam can beat the worst that ended: -1.2 / 2 is below -0.3', { best: full }, true],
    ['not when it can: -1.2 / 2 is above -0.7', { best: { scores: [-0.7, -0.8], finished: [1, 1] } }, false],
    ['not with early_stopping never, where the longest may win: -1.2 / 9', { best: full, early: 'never' }, false],
    ['with early_stopping never and no reward for length', { best: full, early: 'never', lengthPenalty: -1 }, true],
    [
      'with early_stopping true as soon as enough have ended',
      { best: { scores: [-9, -9], finished: [1, 1] }, early: 'true' },
      true,
    ],
    ['not with early_stopping true while there are too few', { early: 'true' }, false],
    ['at the greatest length', { maxNewTokens: 2 }, true],
    ['when it was over before', { done: true }, true],
  ])('%s', async (_, options, over) => {
    expect(await isOver(options)).toBe(over);
  });

  test('and nothing of its best changes any more', async () => {
    const result = await step({ done: true, best: { scores: [-5, -6], finished: [1, 1] } });
    expectClose(data(result, 'state.bestScores'), [-5, -6], TOLERANCE);
    expect(data(result, 'state.bestTokenIds')).toEqual([1, 7, 1, 7]);
    expect(data(result, 'state.bestEnds')).toEqual([0, 0]);
  });

  test('and one that cannot be improved takes nothing in', async () => {
    const result = await step({ improvable: false });
    expect(data(result, 'state.bestScores').every((score) => score < -1e8)).toBe(true);
    expect(data(result, 'state.done')).toEqual([1]);
  });
});

test('at first only one beam of each row may grow, and the prompt stands in every beam', async () => {
  const result = await evaluate((scope) =>
    initialBeamState(
      scope,
      matrix(scope, 'int64', [
        [5, 6],
        [7, 8],
      ]),
      scope.op.constant('int64', [3]),
    ),
  );
  expect(result['runningScores']).toEqual({ data: [0, VERY_LOW, VERY_LOW, 0, VERY_LOW, VERY_LOW], shape: [2, 3] });
  expect(result['bestTokenIds']).toEqual({ data: [5, 6, 5, 6, 5, 6, 7, 8, 7, 8, 7, 8], shape: [2, 3, 2] });
  expect(result['bestTokenLogprobs']?.shape).toEqual([2, 3, 2]);
  expect(result['improvable']).toEqual({ data: [1, 1], shape: [2, 1] });
  expect(result['done']).toEqual({ data: [0, 0], shape: [2, 1] });
});

test('a prompt may have no tokens', async () => {
  const result = await evaluate((scope) =>
    initialBeamState(scope, scope.op.fill('int64', 0, [2, 0]), scope.op.constant('int64', [3])),
  );
  expect(result['bestTokenIds']?.shape).toEqual([2, 3, 0]);
  expect(result['bestTokenLogprobs']?.shape).toEqual([2, 3, 0]);
});
