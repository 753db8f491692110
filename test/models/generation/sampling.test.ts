import { describe, expect, test } from 'vitest';
import type { GenerationParameters } from '../../../models/generation/parameters.ts';
import { drawOne, drawWithoutReplacement, warpLogits } from '../../../models/generation/sampling.ts';
import type { Scope } from '../../../onnx/scope.ts';
import { constantParameters, evaluate, matrix } from '../../support/evaluate.ts';

describe('warping logits', () => {
  const warped = (minimumCount: number, others: (scope: Scope) => Partial<GenerationParameters>) =>
    evaluate((scope) => {
      const scores = matrix(scope, 'float32', [[2, 0, 1, -1]]);
      return warpLogits(scope, scores, constantParameters(scope, others(scope)), minimumCount);
    });
  const lowest = Number.NEGATIVE_INFINITY;

  test('divides by the temperature and sorts the top_k best', async () => {
    const { scores, tokenIds } = await warped(1, ({ op }) => ({
      temperature: op.constant('float32', 0.5),
      topK: op.constant('int64', 3),
    }));
    expect(tokenIds).toEqual({ data: [0, 2, 1], shape: [1, 3] });
    expect(scores).toEqual({ data: [4, 2, 0], shape: [1, 3] });
  });

  test.each([
    ['0 keeps all', 0, 4],
    ['more than there are keeps all', 50, 4],
    ['1 keeps one', 1, 1],
  ])('top_k %s', async (_, topK, count) => {
    const { tokenIds } = await warped(1, ({ op }) => ({ topK: op.constant('int64', topK) }));
    expect(tokenIds?.data).toEqual([0, 2, 1, 3].slice(0, count));
  });

  // softmax([2, 1, 0, -1]) = [0.6439, 0.2369, 0.0871, 0.0321]; before each: 0, 0.6439, 0.8808, 0.9679.
  test.each([
    [0.6, 1, [2, lowest, lowest, lowest]],
    [0.7, 1, [2, 1, lowest, lowest]],
    [0.9, 1, [2, 1, 0, lowest]],
    [1, 1, [2, 1, 0, -1]],
    [0.1, 2, [2, 1, lowest, lowest]],
  ])('top_p %d leaves out what follows that mass, and keeps at least %d', async (topP, minimumCount, kept) => {
    const { scores } = await warped(minimumCount, ({ op }) => ({ topP: op.constant('float32', topP) }));
    expect(scores?.data).toEqual(kept);
  });

  // As shares of the best: 1, 0.3679, 0.1353, 0.0498.
  test.each([
    [0, 1, [2, 1, 0, -1]],
    [0.1, 1, [2, 1, 0, lowest]],
    [0.3, 1, [2, 1, lowest, lowest]],
    [0.5, 1, [2, lowest, lowest, lowest]],
    [1, 1, [2, lowest, lowest, lowest]],
    [0.5, 2, [2, 1, lowest, lowest]],
    [0.5, 3, [2, 1, 0, lowest]],
    [0.1, 2, [2, 1, 0, lowest]],
  ])('min_p %d leaves out tokens of a smaller share, and keeps at least %d', async (minP, minimumCount, kept) => {
    const { scores } = await warped(minimumCount, ({ op }) => ({ minP: op.constant('float32', minP) }));
    expect(scores?.data).toEqual(kept);
  });

  test('keeps as many as must stay, whatever top_k says', async () => {
    const { tokenIds } = await warped(3, ({ op }) => ({ topK: op.constant('int64', 1) }));
    expect(tokenIds?.data).toEqual([0, 2, 1]);
  });
});

describe('one draw', () => {
  // The mass need not sum to 1: these cumulate to 2, 2, 7, 10.
  test.each([
    [0, 0],
    [0.19, 0],
    [0.21, 2],
    [0.69, 2],
    [0.71, 3],
    [0.999, 3],
  ])('of %d inverts the cumulative distribution', async (uniform, position) => {
    const { drawn } = await evaluate((scope) => ({
      drawn: drawOne(scope, matrix(scope, 'float32', [[2, 0, 5, 3]]), matrix(scope, 'float32', [[uniform]])),
    }));
    expect(drawn).toEqual({ data: [position], shape: [1, 1] });
  });

  test('never lands where there is no mass', async () => {
    const { drawn } = await evaluate((scope) => ({
      drawn: drawOne(scope, matrix(scope, 'float32', [[0, 5, 5, 0, 0]]), matrix(scope, 'float32', [[1]])),
    }));
    expect(drawn?.data).toEqual([2]);
  });
});

test('draws without replacement leave out what was drawn', async () => {
  // Of 0.5, 0.3, 0.2: 0.6 lands on the second. Of 0.5, 0, 0.2: 0 on the first. Then the third is left.
  // Of 0.1, 0.1, 0.8: 0.95, 0.95 and 0.95 land on the third, the second and the first.
  const { drawn } = await evaluate((scope) => ({
    drawn: drawWithoutReplacement(
      scope,
      matrix(scope, 'float32', [
        [0.5, 0.3, 0.2],
        [0.1, 0.1, 0.8],
      ]),
      matrix(scope, 'float32', [
        [0.6, 0, 0.5],
        [0.95, 0.95, 0.95],
      ]),
    ),
  }));
  expect(drawn).toEqual({ data: [1, 0, 2, 2, 1, 0], shape: [2, 3] });
});
