import { describe, expect, test } from 'vitest';
import { noTokenRules, type TokenRules } from '../../../checkpoint/config/token-rules.ts';
import { candidatesPerBeam } from '../../../models/generation/beam-search.ts';
import { generate } from '../../../models/generation/generate.ts';
import type { Prompt } from '../../../models/generation/language-model.ts';
import type { GenerationParameters } from '../../../models/generation/parameters.ts';
import type { Scope } from '../../../onnx/scope.ts';
import { expectClose } from '../../support/close-to.ts';
import { countingModel } from '../../support/counting-language-model.ts';
import { constantParameters, evaluate } from '../../support/evaluate.ts';
import {
  allSequences,
  bestOf,
  END_TOKEN_IDS,
  greedySequence,
  isEnd,
  repeatsNgram,
  rowOfToken,
  type Sequence,
  sampledBeams,
  sampledSequence,
  sumModel,
  VOCABULARY_SIZE,
} from '../../support/sum-language-model.ts';

/** Generation with a language model that is not BERT, against what can be computed by hand. */

/** Embeddings in place of token ids: rows of different lengths, the second padded on the left. */
const PREFIXES = [
  [
    [0.5, 0.2, 0.1, -0.3, 0.4],
    [0.1, -0.4, 0.3, 0.2, -0.6],
  ],
  [[-0.2, 0.7, 0.6, 0.1, -0.1]],
];
const NONSENSE = [9, -9, 9, -9, 9];
const NEW_TOKENS = 3;

/** Numbers from 0 up to 1, [rows][steps][draws]. */
type Uniforms = readonly (readonly (readonly number[])[])[];

interface Options {
  readonly beams?: number;
  readonly minNewTokens?: number;
  readonly noRepeatNgramSize?: number;
  readonly returned?: number;
  readonly topK?: number;
  /** Given where it samples. */
  readonly uniforms?: Uniforms;
  readonly newTokens?: readonly number[];
  /** Gives greedy search a loop of its own, whose texts are padded with this token. */
  readonly greedyPadTokenId?: number;
  readonly rules?: TokenRules;
}

async function generated(
  promptOf: (scope: Scope) => Prompt,
  {
    beams = 1,
    minNewTokens = 0,
    noRepeatNgramSize = 0,
    returned = 1,
    topK = 0,
    uniforms,
    newTokens,
    greedyPadTokenId,
    rules,
  }: Options = {},
) {
  return await evaluate((scope) => {
    const { op } = scope;
    const prompt = promptOf(scope);
    const perRow = (value: number) => op.expand(op.constant('int64', value), [op.dimension(prompt.paddingLength, 0)]);
    const parameters = constantParameters(scope, {
      maxNewTokens: newTokens === undefined ? perRow(NEW_TOKENS) : op.constant('int64', newTokens),
      minNewTokens: perRow(minNewTokens),
      numBeams: op.constant('int64', beams),
      noRepeatNgramSize: op.constant('int64', noRepeatNgramSize),
      numReturnSequences: op.constant('int64', returned),
      topK: op.constant('int64', topK),
      lengthPenalty: op.constant('float32', 0),
      ...(uniforms === undefined ? {} : sampling(scope, uniforms)),
    });
    const model = sumModel(scope);
    const greedy = { fits: op.constant('bool', true), model: { ...model, padTokenId: greedyPadTokenId ?? 0 } };
    return generate(scope, prompt, parameters, model, rules, greedyPadTokenId === undefined ? undefined : greedy);
  });
}

function sampling({ op }: Scope, uniforms: Uniforms): Partial<GenerationParameters> {
  const shape = [uniforms.length, uniforms[0]?.length ?? 0, uniforms[0]?.[0]?.length ?? 0];
  return { doSample: op.constant('bool', true), uniforms: op.constant('float32', uniforms.flat(2), shape) };
}

function prefixPrompt({ op }: Scope, prefixes: readonly (readonly (readonly number[])[])[] = PREFIXES): Prompt {
  const embeddings = [...(prefixes[0] ?? []), NONSENSE, ...(prefixes[1] ?? [])];
  return {
    embeddings: op.constant('float32', embeddings.flat(), [2, 2, VOCABULARY_SIZE]),
    paddingLength: op.constant('int64', [0, 1]),
  };
}

type Result = Awaited<ReturnType<typeof generated>>;

/** The sequences of row `index`, up to their ends. */
function sequencesOf(result: Result, index: number): readonly (readonly number[])[] {
  const [, count = 0, length = 0] = result['tokenIds']?.shape ?? [];
  return Array.from({ length: count }, (_, offset) => {
    const sequence = index * count + offset;
    return (
      result['tokenIds']?.data.slice(sequence * length, sequence * length + (result['ends']?.data[sequence] ?? 0)) ?? []
    );
  });
}

function expectSequences(result: Result, index: number, expected: readonly Sequence[]): void {
  expect(sequencesOf(result, index)).toEqual(expected.map(({ tokens }) => tokens));
  const scores = result['scores']?.data.slice(index * expected.length, (index + 1) * expected.length) ?? [];
  expectClose(
    scores,
    expected.map(({ logprob }) => logprob),
    { absolute: 1e-5 },
  );
}

describe('a language model that is not BERT', () => {
  test('starts from token ids, which its answers begin with', async () => {
    const result = await generated(({ op }) => ({
      inputIds: op.constant('int64', [0, 0, 0, 1], [2, 2]),
      paddingLength: op.constant('int64', [1, 0]),
    }));
    expect(sequencesOf(result, 0)).toEqual([[0, 0, ...greedySequence([rowOfToken(0)], NEW_TOKENS)]]);
    expect(sequencesOf(result, 1)).toEqual([[0, 1, ...greedySequence([rowOfToken(0), rowOfToken(1)], NEW_TOKENS)]]);
  });

  test('starts from embeddings, and then an answer has generated tokens alone', async () => {
    const result = await generated((scope) => prefixPrompt(scope));
    for (const [index, prefix] of PREFIXES.entries())
      expect(sequencesOf(result, index)).toEqual([greedySequence(prefix, NEW_TOKENS)]);
  });

  test('starts from embeddings in place of token ids', async () => {
    const result = await generated((scope) => ({
      ...prefixPrompt(scope),
      inputIds: scope.op.constant('int64', [2, 1, 0, 1], [2, 2]),
    }));
    expect(sequencesOf(result, 0)).toEqual([[2, 1, ...greedySequence(PREFIXES[0] ?? [], NEW_TOKENS)]]);
    expect(sequencesOf(result, 1)).toEqual([[0, 1, ...greedySequence(PREFIXES[1] ?? [], NEW_TOKENS)]]);
  });

  test('has sequences by hand that end at each end token, or at the greatest length', () => {
    const ends = PREFIXES.flatMap((prefix) => allSequences(prefix, NEW_TOKENS)).map(({ tokens }) => tokens.at(-1));
    expect(new Set(ends)).toEqual(new Set([0, 1, 2, 3, 4]));
  });

  // Nine beams hold every beginning of two tokens that has not ended, so that the search misses nothing.
  test.each([0, 2, 3])(
    'finds the best of all sequences with enough beams and at least %d tokens before the end',
    async (minNewTokens) => {
      const result = await generated((scope) => prefixPrompt(scope), { beams: 9, returned: 3, minNewTokens });
      for (const [index, prefix] of PREFIXES.entries()) {
        const possible = allSequences(prefix, NEW_TOKENS).filter(
          ({ tokens }) => !isEnd(tokens.at(-1)) || tokens.length > minNewTokens,
        );
        expectSequences(result, index, bestOf(possible, 3));
      }
    },
  );

  test.each([1, 2])(
    'after padded embeddings repeats no %d-gram of its own tokens, the first one included',
    async (size) => {
      // Token 1 stays the likeliest, so that only the ban of the first n-gram brings another.
      const prefixes = [PREFIXES[0] ?? [], [[0, 3, 0, 0, 0]]];
      const result = await generated((scope) => prefixPrompt(scope, prefixes), { noRepeatNgramSize: size });
      expect(greedySequence(prefixes[1] ?? [], NEW_TOKENS)).toEqual([1, 1, 1]);
      for (const [index, prefix] of prefixes.entries())
        expect(sequencesOf(result, index)).toEqual([greedySequence(prefix, NEW_TOKENS, repeatsNgram(size))]);
    },
  );
});

describe('each row reads its prompt once', () => {
  const promptLength = 4;
  const newTokens = 3;

  // The first token is the count of all that is read for it, and so on.
  test.each<[string, number, Partial<Record<'numBeams' | 'numReturnSequences', number>>]>([
    ['greedy', 1, {}],
    ['with five beams', 5, { numBeams: 5 }],
    ['with three samples', 3, { numReturnSequences: 3 }],
  ])('%s', async (_, sequences, settings) => {
    const rows = 2;
    const result = await evaluate((scope) => {
      const { op } = scope;
      const prompt = {
        inputIds: op.fill('int64', 1, [rows, promptLength]),
        paddingLength: op.fill('int64', 0, [rows]),
      };
      const { numBeams = 1, numReturnSequences = 1 } = settings;
      const parameters = constantParameters(scope, {
        maxNewTokens: op.fill('int64', newTokens, [rows]),
        minNewTokens: op.fill('int64', 0, [rows]),
        numBeams: op.constant('int64', numBeams),
        numReturnSequences: op.constant('int64', numReturnSequences),
      });
      return generate(scope, prompt, parameters, countingModel());
    });
    const later = rows * sequences;
    for (const row of [0, 1])
      expect(sequencesOf(result, row)[0]).toEqual([1, 1, 1, 1, rows * promptLength, later, later]);
  });
});

describe('sampling with several end tokens', () => {
  /** Numbers that differ from row to row, step to step and draw to draw. */
  const uniformsOf = (start: number, draws: number): Uniforms =>
    PREFIXES.map((_, index) =>
      Array.from({ length: NEW_TOKENS }, (_, step) =>
        Array.from({ length: draws }, (_, draw) => (start + (index * 50 + step * draws + draw) * 0.618) % 1),
      ),
    );
  const starts = [0, 0.2, 0.4, 0.6, 0.8];

  test('draws sequences that end at either, or at the greatest length', async () => {
    const returned = 6;
    const uniforms = uniformsOf(0.1, returned);
    const result = await generated((scope) => prefixPrompt(scope), { returned, uniforms });
    const expected = PREFIXES.map((prefix, index) =>
      Array.from({ length: returned }, (_, draw) =>
        sampledSequence(prefix, uniforms[index]?.map((numbers) => numbers[draw] ?? 0) ?? []),
      ),
    );
    for (const [index, sequences] of expected.entries()) expectSequences(result, index, sequences);
    const lastTokens = new Set(expected.flat().map(({ tokens }) => tokens.at(-1)));
    expect([...lastTokens]).toEqual(expect.arrayContaining([...END_TOKEN_IDS]));
    expect([...lastTokens].some((token) => !isEnd(token))).toBe(true);
  });

  test.each(starts)('with beams draws candidates for each of them, from %d on', async (start) => {
    const beams = 2;
    const uniforms = uniformsOf(start, candidatesPerBeam(END_TOKEN_IDS) * beams);
    const result = await generated((scope) => prefixPrompt(scope), { beams, returned: beams, uniforms });
    for (const [index, prefix] of PREFIXES.entries())
      expectSequences(result, index, sampledBeams(prefix, uniforms[index] ?? [], beams));
  });

  test('with beams and top_k 1 keeps three candidates of each, so that one goes on when two end', async () => {
    const beams = 2;
    const uniforms = uniformsOf(0.3, candidatesPerBeam(END_TOKEN_IDS) * beams);
    const result = await generated((scope) => prefixPrompt(scope), { beams, returned: beams, topK: 1, uniforms });
    for (const [index, prefix] of PREFIXES.entries())
      expectSequences(result, index, sampledBeams(prefix, uniforms[index] ?? [], beams, 3));
  });

  test('has beams by hand that end at each end token', () => {
    const draws = candidatesPerBeam(END_TOKEN_IDS) * 2;
    const sequences = starts.flatMap((start) => sampledBeams(PREFIXES[0] ?? [], uniformsOf(start, draws)[0] ?? [], 2));
    const lastTokens = new Set(sequences.map(({ tokens }) => tokens.at(-1)));
    expect([...lastTokens]).toEqual(expect.arrayContaining([...END_TOKEN_IDS]));
  });
});

describe('greedy search in a loop of its own', () => {
  /** Tells apart which loop wrote the padding of a text that ended before another. */
  const GREEDY_PAD = 2;
  const ids = [
    [0, 2],
    [0, 1],
  ];
  const idPrompt = ({ op }: Scope, padding: readonly number[] = [0, 0]): Prompt => ({
    inputIds: op.constant('int64', ids.flat(), [2, 2]),
    paddingLength: op.constant('int64', padding),
  });
  const paddings = (result: Result) => {
    const [rows = 0, , length = 0] = result['tokenIds']?.shape ?? [];
    return Array.from({ length: rows }, (_, row) =>
      result['tokenIds']?.data.slice(row * length + (result['ends']?.data[row] ?? 0), (row + 1) * length),
    ).flat();
  };

  test.each<[string, Options]>([
    ['as it is', {}],
    ['with limits of its rows', { newTokens: [1, 4] }],
    ['with a limit that a row does not reach', { newTokens: [5, 5] }],
    ['with one row that ends early, and another at its limit', { newTokens: [9, 1] }],
    ['with one row at its limit, and another that ends early', { newTokens: [1, 9] }],
    ['with a least length', { minNewTokens: 2, newTokens: [4, 4] }],
  ])('writes what the other loop writes: %s', async (_, options) => {
    const [other, own] = [
      await generated(idPrompt, options),
      await generated(idPrompt, { ...options, greedyPadTokenId: 0 }),
    ];
    for (const row of [0, 1]) expect(sequencesOf(own, row)).toEqual(sequencesOf(other, row));
    expect(own['ends']?.data).toEqual(other['ends']?.data);
    expect(own['tokenIds']?.shape).toEqual(other['tokenIds']?.shape); // It stops as soon.
    for (const name of ['scores', 'tokenLogprobs'])
      expectClose((own[name]?.data ?? []).slice(0, 2), (other[name]?.data ?? []).slice(0, 2), { absolute: 1e-5 });
  });

  test('starts from embeddings alone as well', async () => {
    const prompt = (scope: Scope) => ({ ...prefixPrompt(scope), paddingLength: scope.op.constant('int64', [0, 0]) });
    const [other, own] = [await generated(prompt), await generated(prompt, { greedyPadTokenId: 0 })];
    for (const row of [0, 1]) expect(sequencesOf(own, row)).toEqual(sequencesOf(other, row));
  });

  test('starts from prompts of several lengths as well', async () => {
    const prompt = (scope: Scope) => idPrompt(scope, [0, 1]);
    const [other, own] = [await generated(prompt), await generated(prompt, { greedyPadTokenId: 0 })];
    for (const row of [0, 1]) expect(sequencesOf(own, row)).toEqual(sequencesOf(other, row));
    expect(own['ends']?.data).toEqual(other['ends']?.data);
    const unpadded = await generated(idPrompt);
    expect(sequencesOf(own, 1)).not.toEqual(sequencesOf(unpadded, 1));
  });

  const limits = { newTokens: [1, 4] };

  test('is what runs where nothing else is asked for', async () => {
    expect(paddings(await generated(idPrompt, { ...limits, greedyPadTokenId: GREEDY_PAD }))).toContain(GREEDY_PAD);
  });

  test.each<[string, (scope: Scope) => Prompt, Options]>([
    ['n-grams that may not repeat', idPrompt, { noRepeatNgramSize: 3 }],
    ['sampling', idPrompt, { uniforms: [0, 1].map(() => [0.5, 0.5, 0.5, 0.5].map((uniform) => [uniform])) }],
    ['rules about tokens', idPrompt, { rules: { ...noTokenRules, suppressTokens: [0] } }],
  ])('is not what runs with %s', async (_, prompt, options) => {
    const result = await generated(prompt, { ...limits, ...options, greedyPadTokenId: GREEDY_PAD });
    expect(paddings(result).length).toBeGreaterThan(0);
    expect(paddings(result)).not.toContain(GREEDY_PAD);
  });
});
