import { expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { retrievalGraph } from '../../../models/heads/retrieval.ts';
import { loadRetrievalSession } from '../../../pipeline/sessions/retrieval-session.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, openBlipCheckpoint } from '../../support/goldens.ts';
import { recordRuns } from '../../support/session-runs.ts';

/** Pairs of images and texts that would take too much memory go through several runs, and are compared as in one. */

const folder = checkpointFolder('retrieval-wide-vision');
const checkpoint = openBlipCheckpoint(folder);
const { imageSize } = checkpoint.config.vision;

const images = [30, 90, 150, 220].map((value) => ({
  width: imageSize,
  height: imageSize,
  data: Uint8Array.from({ length: imageSize ** 2 * 3 }, (_, place) => (value + place * value) % 256),
}));
const texts = [[5], [6, 7, 8], [9], [10, 11], [12]].map((ids) => [2, ...ids, 3]);

async function compare(comparedImages: number, maxPairTokens?: number) {
  const options = { executionProvider: 'cpu', threadCount: 1 } as const;
  const session = await loadRetrievalSession(retrievalGraph, checkpoint, openWeights(folder), options, maxPairTokens);
  try {
    return await session.runs.retrieval({ images, texts, comparedImages, imagesPerRun: 3 });
  } finally {
    await session.release();
  }
}

test.each([
  ['one pair', 1, Array(20).fill(1)],
  ['two texts with one image', 2 * 32, [2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 1]],
  ['all texts with two images', 11 * 32, [5, 5]],
])('%s a run', async (_, maxPairTokens, textCounts) => {
  for (const comparedImages of [0, 2, 4]) {
    const whole = await compare(comparedImages);
    const runs = recordRuns('text_length');
    const parts = await compare(comparedImages, maxPairTokens);
    expect(runs).toEqual(textCounts);
    for (const name of ['matchProbability', 'cosineSimilarity', 'imageEmbeds', 'textEmbeds'] as const)
      expectClose(Array.from(parts[name]), Array.from(whole[name]), { absolute: 1e-5 });
  }
});
