import { expect, test } from 'vitest';
import { chooseNextTokens } from '../../../models/generation/next-token.ts';
import { expectClose } from '../../support/close-to.ts';
import { constantParameters, evaluate, matrix } from '../../support/evaluate.ts';

/** Five sequences: one goes on, one ends with each of two end tokens, one is full, one had ended before. */
function step(draw?: number) {
  return evaluate((scope) => {
    const { op } = scope;
    const best = (token: number) => [0, 1, 2, 3].map((other) => (other === token ? Math.log(7) : 0));
    const parameters = constantParameters(scope, {
      doSample: op.constant('bool', draw !== undefined),
      uniforms: op.constant('float32', [0, 0, 0, 0, 0, ...[0, 0, 0, 0, 0].map(() => draw ?? 0)], [1, 2, 5]),
    });
    return chooseNextTokens(
      scope,
      matrix(scope, 'float32', [best(1), best(2), best(3), best(0), best(1)]),
      {
        tokenIds: matrix(scope, 'int64', [[9], [9], [9], [9], [2]]),
        tokenLogprobs: matrix(scope, 'float32', [[0], [0], [0], [0], [-1]]),
        finished: op.equal(op.constant('int64', [0, 0, 0, 0, 1]), 1),
        ends: op.constant('int64', [1, 1, 1, 1, 1]),
      },
      {
        parameters,
        generatedCount: op.constant('int64', 1),
        maxNewTokens: op.constant('int64', [9, 9, 9, 2, 9]),
        endTokenIds: [2, 3],
        padTokenId: 8,
      },
    );
  });
}

test('greedy search takes the best token; what has ended is padded', async () => {
  const { tokenIds, tokenLogprobs, finished, ends } = await step();
  expect(tokenIds).toEqual({ data: [9, 1, 9, 2, 9, 3, 9, 0, 2, 8], shape: [5, 2] });
  expect(finished?.data).toEqual([0, 1, 1, 1, 1]);
  expect(ends?.data).toEqual([2, 2, 2, 2, 1]);
  const logprob = Math.log(0.7); // 7 of 7 + 1 + 1 + 1.
  expectClose(tokenLogprobs?.data ?? [], [0, logprob, 0, logprob, 0, logprob, 0, logprob, -1, 0], { absolute: 1e-6 });
});

test('sampling draws with the numbers of its step', async () => {
  // The best token has 0.7 of the mass and comes first; the other three follow it in their order.
  const best = await step(0.69);
  expect(best['tokenIds']?.data).toEqual([9, 1, 9, 2, 9, 3, 9, 0, 2, 8]);
  const next = await step(0.75);
  expect(next['tokenIds']?.data).toEqual([9, 0, 9, 0, 9, 0, 9, 1, 2, 8]);
  expectClose(next['tokenLogprobs']?.data.slice(0, 2) ?? [], [0, Math.log(0.1)], { absolute: 1e-6 });
});
