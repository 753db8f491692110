import { describe, expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { createImageResizer } from '../../../pipeline/sessions/image-resizer.ts';
import { loadRetrievalSession } from '../../../pipeline/sessions/retrieval-session.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, type RetrievalCheckpointName } from '../../support/goldens.ts';
import { openRetrievalCheckpoint, retrievalGraphOf } from '../../support/retrieval-graph.ts';
import { recordRuns } from '../../support/session-runs.ts';

/** Pairs of images and texts that would take too much memory go through several runs, and are compared as in one. */

function picturesOf(side: number) {
  return [30, 90, 150, 220].map((value) => ({
    width: side,
    height: side,
    data: Uint8Array.from({ length: side ** 2 * 3 }, (_, place) => (value + place * value) % 256),
  }));
}

const texts = [[5], [6, 7, 8], [9], [10, 11], [12]].map((ids) => [2, ...ids, 3]);

async function compare(name: RetrievalCheckpointName, comparedImages: number, maxPairTokens?: number) {
  const checkpoint = openRetrievalCheckpoint(checkpointFolder(name));
  const { imageSize } = checkpoint.config.vision;
  const options = { executionProvider: 'cpu', threadCount: 1 } as const;
  const resizer = await createImageResizer(checkpoint.imageProcessor, imageSize, 1);
  const session = await loadRetrievalSession(
    retrievalGraphOf,
    resizer,
    checkpoint,
    openWeights(checkpoint.folder),
    options,
    maxPairTokens,
  );
  try {
    return await session.runs.retrieval({ images: picturesOf(imageSize), texts, comparedImages, imagesPerRun: 3 });
  } finally {
    await session.release();
    await resizer.release();
  }
}

describe.each(['retrieval-wide-vision', 'blip2-itm'] as const)('%s', (name) => {
  test.each([
    ['one pair', 1, Array(20).fill(1)],
    ['two texts with one image', 2 * 32, [2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 1]],
    ['all texts with two images', 11 * 32, [5, 5]],
  ])('%s a run', async (_, maxPairTokens, textCounts) => {
    for (const comparedImages of [0, 2, 4]) {
      const whole = await compare(name, comparedImages);
      const runs = recordRuns('text_length');
      const parts = await compare(name, comparedImages, maxPairTokens);
      expect(runs).toEqual(textCounts);
      for (const name of ['matchProbability', 'cosineSimilarity', 'imageEmbeds', 'textEmbeds'] as const)
        expectClose(Array.from(parts[name]), Array.from(whole[name]), { absolute: 1e-5 });
    }
  });
});
