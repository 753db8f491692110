import type { SharedSettings } from './generation-settings.ts';
import type { RowBatch, RowResults, Sequence } from './row-batch.ts';

/** One text to generate. */
export interface GenerationRow {
  /** The start of the text: [DEC] and the prompt, without [SEP]. */
  readonly inputIds: readonly number[];
  /** Question answering: [CLS], the question and [SEP]. */
  readonly questionIds?: readonly number[];
  readonly maxNewTokens: number;
  readonly minNewTokens: number;
  readonly seed: number;
}

/** Rows share everything but prompt, question, lengths and seed. */
export type GenerationBatch = RowBatch<GenerationRow, SharedSettings>;

/** Each row has `num_return_sequences` sequences, best first. */
export type GenerationResult = RowResults<readonly Sequence[]>;
