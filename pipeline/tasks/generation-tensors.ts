import { bytesTensor, float32Tensor, int64Tensor, type NamedTensor } from '../../protocol/named-tensor.ts';
import type { TaskAnswer } from '../infer-request.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import type { AnsweredItem, ItemAnswers } from './items.ts';
import {
  errorTensor,
  type Failure,
  failuresOf,
  isFailure,
  isSuccess,
  requireSomeSuccess,
  withErrors,
} from './outcome.ts';

/** The layout of texts: one text per item leaves out the second dimension. */
interface Layout {
  readonly outcomes: readonly (AnsweredItem | Failure)[];
  readonly textsPerItem: number;
  readonly shape: readonly number[];
  readonly padTokenId: number;
}

const packers: Readonly<Record<string, (layout: Layout, name: string) => NamedTensor>> = {
  generated_output: packTexts,
  answer: packTexts,
  token_ids: (layout, name) => int64Tensor(name, ...perToken(layout, layout.padTokenId, 'tokenIds')),
  token_logprobs: (layout, name) => float32Tensor(name, ...perToken(layout, 0, 'tokenLogprobs')),
  sequence_score: (layout, name) => packNumbers(layout, name, ({ score }) => score),
  sequence_logprob: (layout, name) => packNumbers(layout, name, summedLogprob),
  mean_token_logprob: (layout, name) =>
    packNumbers(layout, name, (sequence) => summedLogprob(sequence) / Math.max(1, sequence.generatedCount)),
  error: ({ outcomes }) => errorTensor(outcomes),
};

/**
 * Packs the answers of a request as named tensors. Items that failed have empty text, padding and zeros; `error` is added
 * when some did.
 * @throws HandlerError the first failure, when no item has a result.
 */
export function packAnswer(
  { outcomes, times }: ItemAnswers,
  outputNames: readonly string[],
  { padTokenId }: { readonly padTokenId: number },
): TaskAnswer {
  requireSomeSuccess(outcomes);
  const answered = outcomes.filter(isSuccess);
  const textsPerItem = answered[0]?.texts.length ?? 1;
  const shape = textsPerItem === 1 ? [outcomes.length] : [outcomes.length, textsPerItem];
  const layout = { outcomes, textsPerItem, shape, padTokenId };
  return {
    outputs: withErrors(outputNames, outcomes).flatMap((name) => packers[name]?.(layout, name) ?? []),
    failures: failuresOf(outcomes),
    times,
    generatedTokens: answered
      .flatMap(({ sequences }) => sequences)
      .reduce((sum, { generatedCount }) => sum + generatedCount, 0),
  };
}

function packTexts(layout: Layout, name: string): NamedTensor {
  const texts = perText(layout, (item, index) => item?.texts[index] ?? '');
  return bytesTensor(name, layout.shape, texts);
}

function packNumbers(layout: Layout, name: string, read: (sequence: Sequence) => number): NamedTensor {
  const numbers = perText(layout, (item, index) => {
    const sequence = item?.sequences[index];
    return sequence === undefined ? 0 : read(sequence);
  });
  return float32Tensor(name, layout.shape, numbers);
}

/** Start token and prompt have a log-probability of 0. */
function summedLogprob({ tokenLogprobs }: Sequence): number {
  return tokenLogprobs.reduce((sum, logprob) => sum + logprob, 0);
}

function perText<T>(
  { outcomes, textsPerItem }: Layout,
  read: (item: AnsweredItem | undefined, index: number) => T,
): readonly T[] {
  return outcomes.flatMap((outcome) =>
    Array.from({ length: textsPerItem }, (_, index) => read(isFailure(outcome) ? undefined : outcome, index)),
  );
}

/** [...shape, longest], padded. */
function perToken(
  layout: Layout,
  padding: number,
  part: 'tokenIds' | 'tokenLogprobs',
): [shape: readonly number[], data: readonly number[]] {
  const sequences = perText(layout, (item, index) => item?.sequences[index]?.[part] ?? []);
  const longest = Math.max(...sequences.map((sequence) => sequence.length));
  const data = sequences.flatMap((sequence) => [
    ...sequence,
    ...Array.from({ length: longest - sequence.length }, () => padding),
  ]);
  return [[...layout.shape, longest], data];
}
