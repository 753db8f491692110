import type { RowBatch, RowResults, Sequence } from './row-batch.ts';

/** One question whose possible answers are ranked: [CLS], the question and [SEP]. */
export interface RankingRow {
  readonly questionIds: readonly number[];
}

export interface RankingSettings {
  /** The only possible answers, each [DEC], an answer and [SEP]. */
  readonly candidateIds: readonly (readonly number[])[];
  /** How many candidates a row gets back, the most probable first. */
  readonly returnedCount: number;
}

/** A candidate with its log-probability as the score. */
export interface RankedCandidate extends Sequence {
  /** Index into `candidateIds`. */
  readonly candidate: number;
}

export type RankingBatch = RowBatch<RankingRow, RankingSettings>;
export type RankingResult = RowResults<readonly RankedCandidate[]>;
