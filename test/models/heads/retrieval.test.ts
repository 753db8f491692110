import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { retrievalGraph } from '../../../models/heads/retrieval.ts';
import { createSession, type Session } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import { int64s, paddedTexts, resizedImages } from '../../support/generation-session.ts';
import {
  checkpointFolder,
  type GoldenPairs,
  openBlipCheckpoint,
  openGoldenTensors,
  type RetrievalCheckpointName,
  readGoldenJson,
  retrievalCheckpointNames,
} from '../../support/goldens.ts';
import { newImages } from '../../support/new-images.ts';

const EMBEDS_TOLERANCE = { absolute: 1e-5, relative: 1e-4 };
const SCORE_TOLERANCE = { absolute: 1e-4 };
const NOT_COMPARED = -1;

interface Retrieved {
  /** [images][texts] */
  readonly matchProbability: readonly (readonly number[])[];
  readonly cosineSimilarity: readonly (readonly number[])[];
  /** [images][length] and [texts][length] */
  readonly imageEmbeds: readonly (readonly number[])[];
  readonly textEmbeds: readonly (readonly number[])[];
}

/** Runs the graph with these images and texts of the goldens, by their numbers. */
async function openRetrieval(name: RetrievalCheckpointName) {
  const checkpoint = openBlipCheckpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const options = { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder } as const;
  const session: Session = await createSession(retrievalGraph(checkpoint, weights), options);
  const pairs = readGoldenJson<GoldenPairs>(`${name}.json`);
  const goldens = openGoldenTensors(name);
  return {
    release: () => session.release(),
    async compare(images: readonly number[], texts: readonly number[], comparedImages: number): Promise<Retrieved> {
      const { ids, lengths } = paddedTexts(texts.map((text) => pairs.texts[text]?.input_ids ?? []));
      const outputs = await session.run({
        ...newImages(
          checkpoint,
          resizedImages(
            images.flatMap((image) => pairs.images[image] ?? []),
            goldens,
          ),
        ),
        input_ids: ids,
        text_length: lengths,
        compared_images: int64s([comparedImages], []),
      });
      const rows = (tensor: string) => rowsOf(outputs[tensor]?.data as Float32Array, outputs[tensor]?.shape ?? []);
      return {
        matchProbability: rows('match_probability'),
        cosineSimilarity: rows('cosine_similarity'),
        imageEmbeds: rows('image_embeds'),
        textEmbeds: rows('text_embeds'),
      };
    },
  };
}

function rowsOf(data: Float32Array, [count = 0, length = 0]: readonly number[]): readonly (readonly number[])[] {
  return Array.from({ length: count }, (_, row) => Array.from(data.subarray(row * length, (row + 1) * length)));
}

function indicesOf(list: readonly unknown[]): readonly number[] {
  return list.map((_, index) => index);
}

describe.each(retrievalCheckpointNames)('%s compares as transformers does', (name) => {
  const goldens = openGoldenTensors(name);
  const { images, texts } = readGoldenJson<GoldenPairs>(`${name}.json`);
  const [allImages, allTexts] = [indicesOf(images), indicesOf(texts)];
  const matrix = (tensor: string) => {
    const { data, shape } = goldens.floats(tensor);
    return rowsOf(data, shape);
  };
  const [matching, similarity] = [matrix('match_probability'), matrix('cosine_similarity')];
  let retrieval: Awaited<ReturnType<typeof openRetrieval>>;
  beforeAll(async () => {
    retrieval = await openRetrieval(name);
  });
  afterAll(() => retrieval?.release());

  /** Every value of an answer in which every pair was compared. */
  function expectGolden(answer: Retrieved, ofImages: readonly number[], ofTexts: readonly number[]): void {
    const pairs = (golden: readonly (readonly number[])[]) =>
      ofImages.flatMap((image) => ofTexts.map((text) => golden[image]?.[text] ?? Number.NaN));
    expectClose(answer.matchProbability.flat(), pairs(matching), SCORE_TOLERANCE);
    expectClose(answer.cosineSimilarity.flat(), pairs(similarity), SCORE_TOLERANCE);
    for (const [row, image] of ofImages.entries()) {
      const { data } = goldens.floats(`${images[image]}.image_embeds`);
      expectClose(answer.imageEmbeds[row] ?? [], data, EMBEDS_TOLERANCE);
    }
    for (const [row, text] of ofTexts.entries())
      expectClose(answer.textEmbeds[row] ?? [], goldens.floats(`${text}.text_embeds`).data, EMBEDS_TOLERANCE);
  }

  test('and the goldens differ from pair to pair', () => {
    expect(images.length).toBe(3);
    expect(new Set(texts.map(({ input_ids: ids }) => ids.length)).size).toBe(4);
    const spread = (values: readonly number[]) => Math.max(...values) - Math.min(...values);
    for (const golden of [matching, similarity]) {
      for (const image of allImages) expect(spread(golden[image] ?? [])).toBeGreaterThan(0.05);
      for (const text of allTexts) expect(spread(golden.map((row) => row[text] ?? 0))).toBeGreaterThan(0.05);
    }
  });

  test.each(allImages.flatMap((image) => allTexts.map((text) => [image, text] as const)))(
    'image %d with text %d alone',
    async (image, text) => {
      expectGolden(await retrieval.compare([image], [text], 1), [image], [text]);
    },
  );

  test('all images with all texts, which have different lengths', async () => {
    expectGolden(await retrieval.compare(allImages, allTexts, allImages.length), allImages, allTexts);
  });

  test('whatever their order, and with some of them twice', async () => {
    const [someImages, someTexts] = [
      [2, 0, 2, 1],
      [3, 1, 0, 3, 2],
    ];
    expectGolden(await retrieval.compare(someImages, someTexts, 4), someImages, someTexts);
  });

  test.each([0, 1, 2, 3])(
    '%d images for each text by ITM: those of the largest cosine, and no others',
    async (count) => {
      const answer = await retrieval.compare(allImages, allTexts, count);
      expectClose(answer.cosineSimilarity.flat(), similarity.flat(), SCORE_TOLERANCE);
      for (const text of allTexts) {
        const best = allImages
          .toSorted((first, second) => (similarity[second]?.[text] ?? 0) - (similarity[first]?.[text] ?? 0))
          .slice(0, count);
        for (const image of allImages) {
          const expected = best.includes(image) ? (matching[image]?.[text] ?? Number.NaN) : NOT_COMPARED;
          expectClose([answer.matchProbability[image]?.[text] ?? Number.NaN], [expected], SCORE_TOLERANCE);
        }
      }
    },
  );

  test('a text is compared with its own best images, which are not the same for all', () => {
    const bestImages = allTexts.map((text) => {
      const column = similarity.map((row) => row[text] ?? 0);
      return column.indexOf(Math.max(...column));
    });
    expect(new Set(bestImages).size).toBeGreaterThan(1);
  });
});
