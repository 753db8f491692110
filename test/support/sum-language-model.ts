import type { LanguageModel } from '../../models/generation/language-model.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';

/**
 * Another language model than BERT: its logits are the sum of all embeddings that it read. So it has a cache of another
 * structure, is a decoder alone, and has two end tokens; the functions below compute by hand what it generates.
 */

export const VOCABULARY_SIZE = 5;
export const END_TOKEN_IDS = [3, 4] as const;
const PAD_TOKEN_ID = 0;
/** [token][next token] */
const table: readonly (readonly number[])[] = [
  [0.1, 1.3, -0.4, 0.2, -1],
  [-1.5, 0.3, 0.9, -0.2, 0.4],
  [0.6, -0.9, -0.5, 0.8, 1.1],
  [0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0],
];

export const rowOfToken = (token: number) => table[token] ?? [];

interface Sums {
  readonly read: { readonly sum: Value<'float32'>; readonly length: Value<'int64'> };
}

export function sumModel(root: Scope): LanguageModel<Sums> {
  const matrix = root.op.constant('float32', table.flat(), [VOCABULARY_SIZE, VOCABULARY_SIZE]);
  return {
    embed: ({ op }, tokenIds) => op.gather(matrix, tokenIds, 0),
    emptyCache: ({ op }, count) => ({
      read: { sum: op.fill('float32', 0, [count, VOCABULARY_SIZE]), length: op.fill('int64', 0, [count, 1]) },
    }),
    cacheLength: ({ op }, { read }) => op.reshape(op.gather(read.length, [0], 0), [1]),
    select: ({ op }, { read }, sequences) => ({
      read: { sum: op.gather(read.sum, sequences, 0), length: op.gather(read.length, sequences, 0) },
    }),
    decode({ op }, { embeddings, paddingLength, cache: { read } }) {
      const positions = op.add(read.length, op.indices(embeddings, 1)); // [sequences, tokens]
      const isToken = op.cast(op.greaterOrEqual(positions, op.unsqueeze(paddingLength, [1])), 'float32');
      const seen = op.mul(op.cast(embeddings, 'float32'), op.unsqueeze(isToken, [2]));
      const sum = op.add(read.sum, op.reduceSum(seen, 1));
      const length = op.add(read.length, op.dimension(embeddings, 1));
      return { logits: sum, cache: { read: { sum, length } } };
    },
    endTokenIds: END_TOKEN_IDS,
    padTokenId: PAD_TOKEN_ID,
  };
}

export function isEnd(token: number | undefined): boolean {
  return END_TOKEN_IDS.some((end) => end === token);
}

export interface Sequence {
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
export function allSequences(read: readonly (readonly number[])[], count: number): readonly Sequence[] {
  return logSoftmax(sumOf(read)).flatMap((logprob, token) => {
    if (count === 1 || isEnd(token)) return [{ tokens: [token], logprob }];
    return allSequences([...read, rowOfToken(token)], count - 1).map((rest) => ({
      tokens: [token, ...rest.tokens],
      logprob: logprob + rest.logprob,
    }));
  });
}

/** @param isBanned by the tokens so far. */
export function greedySequence(
  read: readonly (readonly number[])[],
  count: number,
  isBanned: (before: readonly number[], token: number) => boolean = () => false,
): readonly number[] {
  const tokens: number[] = [];
  while (tokens.length < count && !isEnd(tokens.at(-1))) {
    const logits = sumOf([...read, ...tokens.map(rowOfToken)]).map((logit, token) =>
      isBanned(tokens, token) ? -1e9 : logit,
    );
    tokens.push(logits.indexOf(Math.max(...logits)));
  }
  return tokens;
}

/** Whether the last n - 1 tokens and this one are n tokens that stand there already. */
export function repeatsNgram(size: number) {
  return (before: readonly number[], token: number) => {
    const ngram = [...before.slice(before.length - size + 1), token];
    return before.some((_, start) => String(before.slice(start, start + size)) === String(ngram));
  };
}

/** Continuations by one token, the most probable first. */
function continuations(read: readonly (readonly number[])[], { tokens, logprob }: Sequence): readonly Sequence[] {
  return logSoftmax(sumOf([...read, ...tokens.map(rowOfToken)]))
    .map((next, token) => ({ tokens: [...tokens, token], logprob: logprob + next }))
    .toSorted((a, b) => b.logprob - a.logprob);
}

/** Draws without replacement: each time the first whose cumulated probability exceeds a share of what is left. */
function drawn(candidates: readonly Sequence[], uniforms: readonly number[]): readonly Sequence[] {
  const left = [...candidates];
  return uniforms.flatMap((uniform) => {
    const total = left.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0);
    let cumulated = 0;
    const position = left.findIndex(({ logprob }) => {
      cumulated += Math.exp(logprob);
      return cumulated > uniform * total;
    });
    return left.splice(position, 1);
  });
}

/** One number for each step. */
export function sampledSequence(read: readonly (readonly number[])[], uniforms: readonly number[]): Sequence {
  return uniforms.reduce<Sequence>(
    (sequence, uniform) =>
      isEnd(sequence.tokens.at(-1)) ? sequence : (drawn(continuations(read, sequence), [uniform])[0] ?? sequence),
    { tokens: [], logprob: 0 },
  );
}

/**
 * Beam search that draws its candidates. It does not stop early: with a length penalty of 0 a sequence never gets better,
 * so that what it finds later changes nothing.
 */
export function sampledBeams(
  read: readonly (readonly number[])[],
  uniforms: readonly (readonly number[])[],
  count: number,
  keptPerBeam = VOCABULARY_SIZE,
): readonly Sequence[] {
  let running: readonly Sequence[] = [{ tokens: [], logprob: 0 }];
  let best: readonly Sequence[] = [];
  for (const [step, numbers] of uniforms.entries()) {
    const all = running.flatMap((beam) => continuations(read, beam).slice(0, keptPerBeam));
    const candidates = drawn(all, numbers.slice(0, all.length));
    const stops = ({ tokens }: Sequence) => isEnd(tokens.at(-1)) || step === uniforms.length - 1;
    best = bestOf([...best, ...candidates.slice(0, count).filter(stops)], count);
    running = bestOf(
      candidates.filter((candidate) => !stops(candidate)),
      count,
    );
  }
  return best;
}

export function bestOf(sequences: readonly Sequence[], count: number): readonly Sequence[] {
  return sequences.toSorted((a, b) => b.logprob - a.logprob).slice(0, count);
}
