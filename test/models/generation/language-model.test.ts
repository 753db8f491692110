import { describe, expect, test } from 'vitest';
import { generate } from '../../../models/generation/generate.ts';
import type { LanguageModel, Prompt } from '../../../models/generation/language-model.ts';
import type { Value } from '../../../onnx/graph.ts';
import type { Scope } from '../../../onnx/scope.ts';
import { expectClose } from '../../support/close-to.ts';
import { constantParameters, evaluate } from '../../support/evaluate.ts';

/**
 * Another language model than BERT: its logits are the sum of all embeddings that it read. So it has a cache of another
 * structure, is a decoder alone, and can be computed by hand. It has two end tokens.
 */

const VOCABULARY_SIZE = 5;
const END_TOKEN_IDS = [3, 4] as const;
const PAD_TOKEN_ID = 0;
/** [token][next token] */
const table: readonly (readonly number[])[] = [
  [0.1, 1.3, -0.4, 0.2, -1],
  [-1.5, 0.3, 0.9, -0.2, 0.4],
  [0.6, -0.9, -0.5, 0.8, 1.1],
  [0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0],
];

interface Sums {
  readonly read: { readonly sum: Value<'float32'>; readonly length: Value<'int64'> };
}

function sumModel(root: Scope): LanguageModel<Sums> {
  const matrix = root.op.constant('float32', table.flat(), [VOCABULARY_SIZE, VOCABULARY_SIZE]);
  return {
    embed: ({ op }, tokenIds) => op.gather(matrix, tokenIds, 0),
    emptyCache: ({ op }, count) => ({
      read: { sum: op.fill('float32', 0, [count, VOCABULARY_SIZE]), length: op.fill('int64', 0, [count, 1]) },
    }),
    decode({ op }, { embeddings, paddingLength, cache: { read } }) {
      const places = op.add(read.length, op.indices(embeddings, 1)); // [sequences, tokens]
      const isToken = op.cast(op.greaterOrEqual(places, op.unsqueeze(paddingLength, [1])), 'float32');
      const seen = op.mul(op.cast(embeddings, 'float32'), op.unsqueeze(isToken, [2]));
      const sum = op.add(read.sum, op.reduceSum(seen, 1));
      const length = op.add(read.length, op.dimension(embeddings, 1));
      return { logits: sum, cache: { read: { sum, length } } };
    },
    endTokenIds: END_TOKEN_IDS,
    padTokenId: PAD_TOKEN_ID,
  };
}

interface Sequence {
  readonly tokens: readonly number[];
  readonly logprob: number;
}

function logSoftmax(logits: readonly number[]): readonly number[] {
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  return logits.map((logit) => logit - total);
}

const sumOf = (rows: readonly (readonly number[])[]) =>
  Array.from({ length: VOCABULARY_SIZE }, (_, column) => rows.reduce((sum, row) => sum + (row[column] ?? 0), 0));

/** Every sequence that ends, or has so many tokens, after what was read. */
function allSequences(read: readonly (readonly number[])[], count: number): readonly Sequence[] {
  return logSoftmax(sumOf(read)).flatMap((logprob, token) => {
    if (count === 1 || END_TOKEN_IDS.some((end) => end === token)) return [{ tokens: [token], logprob }];
    return allSequences([...read, table[token] ?? []], count - 1).map((rest) => ({
      tokens: [token, ...rest.tokens],
      logprob: logprob + rest.logprob,
    }));
  });
}

function greedySequence(read: readonly (readonly number[])[], count: number): readonly number[] {
  const logits = sumOf(read);
  const token = logits.indexOf(Math.max(...logits));
  if (count === 1 || END_TOKEN_IDS.some((end) => end === token)) return [token];
  return [token, ...greedySequence([...read, table[token] ?? []], count - 1)];
}

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

interface Options {
  readonly beams?: number;
  readonly minNewTokens?: number;
  readonly returned?: number;
}

async function generated(
  promptOf: (scope: Scope) => Prompt,
  { beams = 1, minNewTokens = 0, returned = 1 }: Options = {},
) {
  return await evaluate((scope) => {
    const { op } = scope;
    const prompt = promptOf(scope);
    const perRow = (value: number) => op.expand(op.constant('int64', value), [op.dimension(prompt.paddingLength, 0)]);
    const parameters = constantParameters(scope, {
      maxNewTokens: perRow(NEW_TOKENS),
      minNewTokens: perRow(minNewTokens),
      numBeams: op.constant('int64', beams),
      numReturnSequences: op.constant('int64', returned),
      lengthPenalty: op.constant('float32', 0),
    });
    return generate(scope, prompt, parameters, sumModel(scope));
  });
}

function prefixPrompt({ op }: Scope): Prompt {
  const embeddings = [...(PREFIXES[0] ?? []), NONSENSE, ...(PREFIXES[1] ?? [])];
  return {
    embeddings: op.constant('float32', embeddings.flat(), [2, 2, VOCABULARY_SIZE]),
    paddingLength: op.constant('int64', [0, 1]),
  };
}

type Result = Awaited<ReturnType<typeof generated>>;

/** The sequences of a row, up to their ends. */
function sequencesOf(result: Result, row: number): readonly (readonly number[])[] {
  const [, count = 0, length = 0] = result['tokenIds']?.shape ?? [];
  return Array.from({ length: count }, (_, index) => {
    const sequence = row * count + index;
    return (
      result['tokenIds']?.data.slice(sequence * length, sequence * length + (result['ends']?.data[sequence] ?? 0)) ?? []
    );
  });
}

const row = (token: number) => table[token] ?? [];

describe('a language model that is not BERT', () => {
  test('starts from token ids, which its answers begin with', async () => {
    const result = await generated(({ op }) => ({
      inputIds: op.constant('int64', [0, 0, 0, 1], [2, 2]),
      paddingLength: op.constant('int64', [1, 0]),
    }));
    expect(sequencesOf(result, 0)).toEqual([[0, 0, ...greedySequence([row(0)], NEW_TOKENS)]]);
    expect(sequencesOf(result, 1)).toEqual([[0, 1, ...greedySequence([row(0), row(1)], NEW_TOKENS)]]);
  });

  test('starts from embeddings, and then answers have its own tokens alone', async () => {
    const result = await generated(prefixPrompt);
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

  test('ends at any of its end tokens, and the goldens by hand have both', () => {
    const ends = PREFIXES.flatMap((prefix) => allSequences(prefix, NEW_TOKENS)).map(({ tokens }) => tokens.at(-1));
    expect(new Set(ends)).toEqual(new Set([0, 1, 2, 3, 4]));
  });

  // Nine beams hold every beginning of two tokens that has not ended, so that the search misses nothing.
  test.each([0, 2, 3])(
    'finds the best of all sequences with enough beams and at least %d tokens before the end',
    async (minNewTokens) => {
      const result = await generated(prefixPrompt, { beams: 9, returned: 3, minNewTokens });
      for (const [index, prefix] of PREFIXES.entries()) {
        const possible = allSequences(prefix, NEW_TOKENS)
          .filter(({ tokens }) => !isEnd(tokens.at(-1)) || tokens.length > minNewTokens)
          .toSorted((a, b) => b.logprob - a.logprob);
        expect(sequencesOf(result, index)).toEqual(possible.slice(0, 3).map(({ tokens }) => tokens));
        const scores = result['scores']?.data.slice(index * 3, index * 3 + 3) ?? [];
        expectClose(
          scores,
          possible.slice(0, 3).map(({ logprob }) => logprob),
          { absolute: 1e-5 },
        );
      }
    },
  );
});

function isEnd(token: number | undefined): boolean {
  return END_TOKEN_IDS.some((end) => end === token);
}
