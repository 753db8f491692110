import type { OutputName } from '../input_schema.ts';
import { bytesTensor, float32Tensor, int64Tensor, type NamedTensor } from '../protocol/named-tensor.ts';
import { type Caption, type CaptionOutcome, isFailure } from './caption-items.ts';

/** How captions are laid out: with one caption per image the second dimension is left out. */
interface Layout {
  readonly outcomes: readonly CaptionOutcome[];
  readonly captionsPerItem: number;
  readonly shape: readonly number[];
  readonly padTokenId: number;
}

const packers: { readonly [Name in OutputName]: (layout: Layout) => NamedTensor } = {
  generated_output: (layout) =>
    bytesTensor(
      'generated_output',
      layout.shape,
      perCaption(layout, (caption, index) => caption?.texts[index] ?? ''),
    ),
  token_ids: (layout) => int64Tensor('token_ids', ...perToken(layout, layout.padTokenId, 'tokenIds')),
  token_logprobs: (layout) => float32Tensor('token_logprobs', ...perToken(layout, 0, 'tokenLogprobs')),
  sequence_score: (layout) =>
    float32Tensor(
      'sequence_score',
      layout.shape,
      perCaption(layout, (caption, index) => caption?.sequences[index]?.score ?? 0),
    ),
  error: ({ outcomes }) =>
    bytesTensor(
      'error',
      [outcomes.length],
      outcomes.map((outcome) => (isFailure(outcome) ? `${outcome.error.code}: ${outcome.error.message}` : '')),
    ),
};

/**
 * Packs captions as named tensors. Items that failed have empty text, padding and zeros; when some did, `error` is
 * added even if it was not asked for.
 */
export function packCaptions(
  outcomes: readonly CaptionOutcome[],
  names: readonly OutputName[],
  context: { readonly captionsPerItem: number; readonly padTokenId: number },
): readonly NamedTensor[] {
  const { captionsPerItem, padTokenId } = context;
  const shape = captionsPerItem === 1 ? [outcomes.length] : [outcomes.length, captionsPerItem];
  const someFailed = outcomes.some(isFailure);
  const wanted = someFailed ? [...new Set([...names, 'error' as const])] : names;
  return wanted.map((name) => packers[name]({ outcomes, captionsPerItem, shape, padTokenId }));
}

function perCaption<T>(
  { outcomes, captionsPerItem }: Layout,
  read: (caption: Caption | undefined, index: number) => T,
): readonly T[] {
  return outcomes.flatMap((outcome) =>
    Array.from({ length: captionsPerItem }, (_, index) => read(isFailure(outcome) ? undefined : outcome, index)),
  );
}

/** [...shape, longest], padded. */
function perToken(
  layout: Layout,
  padding: number,
  part: 'tokenIds' | 'tokenLogprobs',
): [shape: readonly number[], data: readonly number[]] {
  const sequences = perCaption(layout, (caption, index) => caption?.sequences[index]?.[part] ?? []);
  const longest = Math.max(...sequences.map((sequence) => sequence.length));
  const data = sequences.flatMap((sequence) => [
    ...sequence,
    ...Array.from({ length: longest - sequence.length }, () => padding),
  ]);
  return [[...layout.shape, longest], data];
}
