import { expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { answerRankingGraph } from '../../../models/heads/answer-ranking.ts';
import { createImageResizer } from '../../../pipeline/sessions/image-resizer.ts';
import type { RankingBatch } from '../../../pipeline/sessions/ranking-batch.ts';
import { prepareRankingSession } from '../../../pipeline/sessions/ranking-session.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, openBlipCheckpoint } from '../../support/goldens.ts';
import { recordRuns } from '../../support/session-runs.ts';

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

async function rank(maxLogitsBytes?: number, ranked = batch, maxRunTokens?: number) {
  const bounds = maxRunTokens === undefined ? {} : { maxRunTokens };
  const options = { executionProvider: 'cpu', threadCount: 1, ...bounds } as const;
  const resizer = await createImageResizer(checkpoint.imageProcessor, checkpoint.config.vision.imageSize, 1);
  const session = prepareRankingSession(
    answerRankingGraph,
    resizer,
    checkpoint,
    openWeights(folder),
    options,
    maxLogitsBytes,
  );
  try {
    return (await session.runs.ranking(ranked)).results;
  } finally {
    await session.release();
    await resizer.release();
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

test('long questions with few candidates go through several runs too', async () => {
  const long = (image: number, word: number) => ({ image, questionIds: [2, word, 21, 22, 23, sepTokenId] });
  const few = { returnedCount: 1, candidateIds: candidateIds.slice(0, 1) };
  const questions: RankingBatch = { ...batch, rows: [long(0, 20), long(1, 30), long(0, 40)], settings: few };
  const whole = await rank(undefined, questions);
  const runs = recordRuns('image_index');
  const parts = await rank(undefined, questions, 8);
  expect(runs).toEqual([1, 1, 1]);
  for (const [index, [best]] of whole.entries())
    expectClose([parts[index]?.[0]?.score ?? 0], [best?.score ?? 1], { absolute: 1e-4 });
});
