import { expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { captioningGraph } from '../../../models/heads/captioning.ts';
import type { SharedSettings } from '../../../pipeline/sessions/generation-batch.ts';
import { loadGenerationSession } from '../../../pipeline/sessions/generation-session.ts';
import { createImageResizer } from '../../../pipeline/sessions/image-resizer.ts';
import { bytesOf, tokensOf } from '../../../pipeline/sessions/run-bounds.ts';
import { blipTextSize } from '../../../pipeline/sessions/text-size.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, openBlipCheckpoint } from '../../support/goldens.ts';
import { greedySettings } from '../../support/greedy-settings.ts';
import { recordRuns } from '../../support/session-runs.ts';

/** Rows whose sequences would take too much memory go through several runs, and are answered as in one. */

const folder = checkpointFolder('narrow-vision');
const checkpoint = openBlipCheckpoint(folder);
const { vision, text } = checkpoint.config;
const size = blipTextSize(text);
const NEW_TOKENS = 8;

const grey = (value: number) => ({
  width: vision.imageSize,
  height: vision.imageSize,
  data: new Uint8Array(vision.imageSize ** 2 * 3).fill(value),
});
const row = (image: number, words: readonly number[], seed: number) => ({
  image,
  inputIds: [text.bosTokenId, ...words],
  maxNewTokens: NEW_TOKENS,
  minNewTokens: 2,
  seed,
});
const images = [grey(40), grey(120), grey(200)];
const rows = [row(2, [], 1), row(0, [5, 6, 7], 2), row(0, [8], 3), row(1, [], 4), row(0, [9, 10], 5)];

async function generate(settings: Partial<SharedSettings>, bounds: Partial<Bounds>, asked = rows) {
  const options = { executionProvider: 'cpu', threadCount: 1, ...bounds } as const;
  const resizer = await createImageResizer(checkpoint.imageProcessor, checkpoint.config.vision.imageSize, 1);
  const weights = openWeights(folder);
  const session = await loadGenerationSession(
    captioningGraph,
    { size, endTokenIds: [text.sepTokenId] },
    resizer,
    checkpoint,
    weights,
    options,
  );
  try {
    return (await session.runs.generation({ images, rows: asked, settings: { ...greedySettings, ...settings } }))
      .results;
  } finally {
    await session.release();
    await resizer.release();
  }
}

type Bounds = Readonly<Record<'maxRunBytes' | 'maxRunTokens', number>>;

/** The memory of so many rows with the longest prompt. */
function boundsOf(rowCount: number, settings: Partial<SharedSettings>): Bounds {
  const same = Array.from({ length: rowCount }, () => row(0, [5, 6, 7], 0));
  const whole = { ...greedySettings, ...settings };
  return { maxRunBytes: bytesOf(same, whole, size), maxRunTokens: tokensOf(same, whole, size) };
}

test.each([
  ['greedily', { num_return_sequences: 1 }],
  ['by beams', { num_beams: 3, num_return_sequences: 2 }],
  ['by beams without repeats', { num_beams: 2, num_return_sequences: 1, no_repeat_ngram_size: 2 }],
  ['at random', { do_sample: true, num_return_sequences: 2 }],
  ['at random by beams', { do_sample: true, top_k: 0, num_beams: 3, num_return_sequences: 2 }],
] as const)('rows that are generated %s', async (_, settings) => {
  const unbounded = Number.POSITIVE_INFINITY;
  const whole = await generate(settings, { maxRunBytes: unbounded, maxRunTokens: unbounded });
  expect(whole.map((sequences) => sequences.length)).toEqual(rows.map(() => settings.num_return_sequences));
  const { maxRunBytes, maxRunTokens } = boundsOf(2, settings);
  for (const [bounds, rowCounts] of [
    [{ maxRunBytes: 0 }, [1, 1, 1, 1, 1]],
    [{ maxRunBytes }, [2, 2, 1]],
    [{ maxRunTokens }, [2, 2, 1]],
  ] as const) {
    const runs = recordRuns('image_index');
    const parts = await generate(settings, bounds);
    expect(runs).toEqual(rowCounts);
    for (const [index, sequences] of whole.entries()) {
      expect(parts[index]?.map(({ tokenIds }) => tokenIds)).toEqual(sequences.map(({ tokenIds }) => tokenIds));
      const scores = parts[index]?.map(({ score }) => score) ?? [];
      expectClose(
        scores,
        sequences.map(({ score }) => score),
        { absolute: 1e-4 },
      );
    }
  }
});

test.each<[string, Partial<SharedSettings>]>([
  ['greedily', {}],
  ['by beams', { num_beams: 2 }],
  ['with a penalty', { repetition_penalty: 1.2 }],
])('a long prompt and a long text, each as long as the model allows, do not fail together: %s', async (_, settings) => {
  const { maxPositions } = text;
  const words = Array.from({ length: maxPositions - 2 }, (_, index) => 5 + (index % 40));
  const longPrompt = { ...row(0, words, 1), maxNewTokens: 2, minNewTokens: 0 };
  const longText = { ...row(1, [], 2), maxNewTokens: maxPositions, minNewTokens: maxPositions };
  const together = await generate(settings, {}, [longPrompt, longText]);
  expect(together.map(([first]) => first?.generatedCount)).toEqual([2, maxPositions]);
  const alone = await generate(settings, {}, [longText]);
  expect(together[1]?.map(({ tokenIds }) => tokenIds)).toEqual(alone[0]?.map(({ tokenIds }) => tokenIds));
});
