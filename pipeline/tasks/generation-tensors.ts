import { bytesTensor, float32Tensor, int64Tensor, type NamedTensor } from '../../protocol/named-tensor.ts';
import type { GeneratedSequence } from '../sessions/generation-session.ts';
import type { Generated } from './generation-items.ts';
import { errorTensor, type Failure, isFailure, withErrors } from './outcome.ts';

/** How texts are laid out: with one text per item the second dimension is left out. */
interface Layout {
  readonly outcomes: readonly (Generated | Failure)[];
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
 * Packs generated texts as named tensors. Items that failed have empty text, padding and zeros; when some did, `error`
 * is added even if it was not asked for.
 */
export function packGenerated(
  outcomes: readonly (Generated | Failure)[],
  names: readonly string[],
  context: { readonly textsPerItem: number; readonly padTokenId: number },
): readonly NamedTensor[] {
  const { textsPerItem, padTokenId } = context;
  const shape = textsPerItem === 1 ? [outcomes.length] : [outcomes.length, textsPerItem];
  const layout = { outcomes, textsPerItem, shape, padTokenId };
  return withErrors(names, outcomes).flatMap((name) => packers[name]?.(layout, name) ?? []);
}

function packTexts(layout: Layout, name: string): NamedTensor {
  const texts = perText(layout, (generated, index) => generated?.texts[index] ?? '');
  return bytesTensor(name, layout.shape, texts);
}

function packNumbers(layout: Layout, name: string, read: (sequence: GeneratedSequence) => number): NamedTensor {
  const numbers = perText(layout, (generated, index) => {
    const sequence = generated?.sequences[index];
    return sequence === undefined ? 0 : read(sequence);
  });
  return float32Tensor(name, layout.shape, numbers);
}

/** Start token and prompt have a log-probability of 0. */
function summedLogprob({ tokenLogprobs }: GeneratedSequence): number {
  return tokenLogprobs.reduce((sum, logprob) => sum + logprob, 0);
}

function perText<T>(
  { outcomes, textsPerItem }: Layout,
  read: (generated: Generated | undefined, index: number) => T,
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
  const sequences = perText(layout, (generated, index) => generated?.sequences[index]?.[part] ?? []);
  const longest = Math.max(...sequences.map((sequence) => sequence.length));
  const data = sequences.flatMap((sequence) => [
    ...sequence,
    ...Array.from({ length: longest - sequence.length }, () => padding),
  ]);
  return [[...layout.shape, longest], data];
}
