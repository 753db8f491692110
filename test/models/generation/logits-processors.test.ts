import { describe, expect, test } from 'vitest';
import { noTokenRules, type TokenRules } from '../../../checkpoint/config/token-rules.ts';
import { type ProcessorContext, processLogits } from '../../../models/generation/logits-processors.ts';
import type { Scope } from '../../../onnx/scope.ts';
import { constantParameters, evaluate, matrix } from '../../support/evaluate.ts';

/** Two end tokens, of a vocabulary of 5. */
const endTokenIds = [3, 4] as const;
const banned = Number.NEGATIVE_INFINITY;

interface ProcessorInputs {
  readonly scores: readonly (readonly number[])[];
  readonly tokenIds: readonly (readonly number[])[];
  readonly paddingLength?: readonly number[];
  readonly minNewTokens?: readonly number[];
  readonly repetitionPenalty?: number;
  readonly noRepeatNgramSize?: number;
  readonly generatedCount?: number;
  readonly maxNewTokens?: readonly number[];
  readonly rules?: Partial<TokenRules>;
}

function contextOf(scope: Scope, inputs: ProcessorInputs, avoidsEmptySums: boolean): ProcessorContext {
  const { op } = scope;
  const zeros = inputs.scores.map(() => 0);
  return {
    tokenIds: matrix(scope, 'int64', inputs.tokenIds),
    paddingLength: op.constant('int64', inputs.paddingLength ?? zeros),
    minNewTokens: op.constant('int64', inputs.minNewTokens ?? zeros),
    maxNewTokens: op.constant('int64', inputs.maxNewTokens ?? inputs.scores.map(() => 20)),
    generatedCount: op.constant('int64', inputs.generatedCount ?? 1),
    rules: { ...noTokenRules, ...inputs.rules },
    parameters: constantParameters(scope, {
      repetitionPenalty: op.constant('float32', inputs.repetitionPenalty ?? 1),
      noRepeatNgramSize: op.constant('int64', inputs.noRepeatNgramSize ?? 0),
    }),
    avoidsEmptySums,
    endTokenIds,
  };
}

/** As graphs for CPUs and for GPUs compute them, which must be the same. */
async function processed(inputs: ProcessorInputs): Promise<readonly number[]> {
  const [scores, others] = [await processedFor(inputs, false), await processedFor(inputs, true)];
  expect(others).toEqual(scores);
  return scores;
}

async function processedFor(inputs: ProcessorInputs, avoidsEmptySums: boolean): Promise<readonly number[]> {
  const { scores } = await evaluate((scope) => ({
    scores: processLogits(scope, matrix(scope, 'float32', inputs.scores), contextOf(scope, inputs, avoidsEmptySums)),
  }));
  expect(scores?.shape).toEqual([inputs.scores.length, 5]);
  return scores?.data ?? [];
}

const plain = [4, -2, 1, 3, 0];

test('change nothing where all are off', async () => {
  expect(await processed({ scores: [plain], tokenIds: [[0, 1, 0]] })).toEqual(plain);
});

test('a repetition penalty divides what is positive and multiplies what is negative, once for each token', async () => {
  expect(await processed({ scores: [plain], tokenIds: [[0, 1, 0]], repetitionPenalty: 2 })).toEqual([2, -4, 1, 3, 0]);
});

describe('no repeated n-grams', () => {
  test.each([
    ['the token after an equal pair’s first', 2, [1, 2, 1], 0, [4, -2, banned, 3, 0]],
    ['none where the prefix is new', 2, [1, 2, 0], 0, plain],
    ['every token that was there, for n = 1', 1, [1, 2, 1], 0, [4, banned, banned, 3, 0]],
    ['the end of an equal triple', 3, [1, 2, 0, 1, 2], 0, [banned, -2, 1, 3, 0]],
    ['none where the sequence is shorter than n', 3, [1, 2], 0, plain],
    ['none that starts in the padding', 2, [1, 2, 1], 1, plain],
    ['several after one prefix', 2, [1, 2, 1, 0, 1], 0, [banned, -2, banned, 3, 0]],
  ])('bans %s', async (_, size, tokenIds, paddingLength, expected) => {
    const got = await processed({
      scores: [plain],
      tokenIds: [tokenIds],
      noRepeatNgramSize: size,
      paddingLength: [paddingLength],
    });
    expect(got).toEqual(expected);
  });

  test.each([1, 2, 5])('of %d bans none before there are tokens', async (size) => {
    expect(await processed({ scores: [plain], tokenIds: [[]], noRepeatNgramSize: size })).toEqual(plain);
  });
});

test('a least length forbids every end token, in rows that are still too short', async () => {
  const got = await processed({
    scores: [plain, plain, plain],
    tokenIds: [[0], [0], [0]],
    minNewTokens: [2, 1, 9],
  });
  const short = [4, -2, 1, banned, banned];
  expect(got).toEqual([...short, ...plain, ...short]);
});

test('come in transformers’ order: what is banned stays banned after a penalty', async () => {
  const got = await processed({
    scores: [plain],
    tokenIds: [[0, 3, 0]],
    repetitionPenalty: 2,
    noRepeatNgramSize: 2,
    minNewTokens: [5],
  });
  expect(got).toEqual([2, -2, 1, banned, banned]);
});
