import { HandlerError } from '../../protocol/errors.ts';
import type { RankedCandidate, RankingRow, RankingSettings } from '../sessions/ranking-batch.ts';
import type { GenerationTexts } from '../texts/generation-texts.ts';
import { readInTurns } from '../texts/text-tokens.ts';
import type { Batcher } from '../workers/batcher.ts';
import type { ItemWork } from './items.ts';

/** The limit of memory: every question is read with each candidate, and every token of it is scored. */
const MAX_CANDIDATES = 256;

/** The only possible answers of a request. */
export interface CandidateAnswers {
  readonly texts: readonly string[];
  /** How many of them each item gets back, best first. */
  readonly returnedCount: number;
}

/**
 * Reads the candidates of a request; `undefined` where it has none. Of the generation parameters, only
 * `num_return_sequences` applies to them.
 * @throws HandlerError `INVALID_INPUT` when there are too many, `INVALID_PARAMETER` when more are to be returned.
 */
export function readCandidates(
  texts: readonly string[] | undefined,
  returnedCount: number = 1,
): CandidateAnswers | undefined {
  if (texts === undefined) return undefined;
  if (texts.length > MAX_CANDIDATES)
    throw new HandlerError('INVALID_INPUT', `Expected at most ${MAX_CANDIDATES} candidates, got ${texts.length}.`);
  if (returnedCount > texts.length) {
    const expected = `num_return_sequences to be at most the number of candidates ${texts.length}`;
    throw new HandlerError('INVALID_PARAMETER', `Expected ${expected}, got ${returnedCount}.`);
  }
  return { texts, returnedCount };
}

/** The parts of a running model that rank candidates. */
export interface RankingParts {
  readonly texts: GenerationTexts;
  readonly batcher: Batcher<RankingRow, RankingSettings, readonly RankedCandidate[]>;
  /** The tokens of an image, which the model computes once for all rows about it. */
  readonly imageTokens: number;
}

/**
 * How the candidates of a request are ranked.
 * @throws HandlerError `PROMPT_TOO_LONG` when a candidate has more tokens than the model has positions; the signal's
 *   reason, when it aborts before all candidates are read.
 */
export async function rankingWork(
  readQuestion: (question: string) => readonly number[],
  { texts: candidates, returnedCount }: CandidateAnswers,
  { texts, batcher, imageTokens }: RankingParts,
  signal: AbortSignal | undefined,
): Promise<ItemWork<RankingRow, RankingSettings, readonly RankedCandidate[]>> {
  const candidateIds = await readInTurns(candidates, (text) => texts.candidate(text), signal);
  const longest = Math.max(...candidateIds.map((ids) => ids.length));
  const tokensOf = ({ questionIds }: RankingRow) => questionIds.length + candidateIds.length * longest;
  return {
    readRow: (question) => ({ questionIds: readQuestion(question) }),
    settings: { candidateIds, returnedCount },
    batcher,
    workOf: (rows) => rows.reduce((tokens, row) => tokens + tokensOf(row), imageTokens),
    readResult: (sequences) => ({ texts: sequences.map(({ candidate }) => candidates[candidate] ?? ''), sequences }),
  };
}
