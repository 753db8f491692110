import { expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { answerRankingGraph } from '../../../models/heads/answer-ranking.ts';
import type { RankingBatch } from '../../../pipeline/sessions/ranking-batch.ts';
import { prepareRankingSession } from '../../../pipeline/sessions/ranking-session.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, openBlipCheckpoint } from '../../support/goldens.ts';

/** A ranking whose logits would take too much memory goes through several runs. */

const folder = checkpointFolder('answers-float32');
const checkpoint = openBlipCheckpoint(folder);
const { vision, text } = checkpoint.config;

const grey = (value: number) => ({
  width: vision.imageSize,
  height: vision.imageSize,
  data: new Uint8Array(vision.imageSize ** 2 * 3).fill(value),
});
const { bosTokenId, sepTokenId } = text;
const candidateIds = [[5], [6, 7], [8], [9, 10, 11], [12]].map((ids) => [bosTokenId, ...ids, sepTokenId]);
const row = (image: number, word: number) => ({ image, questionIds: [2, word, word + 1, sepTokenId] });
const batch: RankingBatch = {
  images: [grey(40), grey(200)],
  rows: [row(0, 20), row(1, 30), row(0, 40)],
  settings: { returnedCount: candidateIds.length, candidateIds },
};

async function rank(maxLogitsBytes?: number) {
  const options = { executionProvider: 'cpu', threadCount: 1 } as const;
  const session = prepareRankingSession(answerRankingGraph, checkpoint, openWeights(folder), options, maxLogitsBytes);
  try {
    return (await session.runs.ranking(batch)).results;
  } finally {
    await session.release();
  }
}

/** Of one candidate, padded to the longest. */
const sequenceBytes = text.vocabularySize * 4 * Math.max(...candidateIds.map((ids) => ids.length));

test.each([
  ['one sequence a run, though even that is too much', 1],
  ['two candidates a run', 2 * sequenceBytes],
  ['all candidates of one question a run', 5 * sequenceBytes],
  ['all candidates of two questions a run', 11 * sequenceBytes],
])('%s: the same ranking as in one run', async (_, maxLogitsBytes) => {
  const [whole, parts] = [await rank(), await rank(maxLogitsBytes)];
  expect(whole.map((sequences) => sequences.length)).toEqual([5, 5, 5]);
  for (const [index, sequences] of whole.entries()) {
    expect(parts[index]?.map(({ candidate }) => candidate)).toEqual(sequences.map(({ candidate }) => candidate));
    expectClose(
      parts[index]?.map(({ score }) => score) ?? [],
      sequences.map(({ score }) => score),
      { absolute: 1e-4 },
    );
  }
});
