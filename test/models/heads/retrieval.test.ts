import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import type { GraphForm } from '../../../models/module.ts';
import { createSession, type Session } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import { inEachForm } from '../../support/forms.ts';
import { int64s, paddedTexts, resizedImages } from '../../support/generation-session.ts';
import {
  allRetrievalCheckpointNames,
  checkpointFolder,
  type GoldenPairs,
  openGoldenTensors,
  type RetrievalCheckpointName,
  readGoldenJson,
} from '../../support/goldens.ts';
import { newImages } from '../../support/new-images.ts';
import { openRetrievalCheckpoint, retrievalGraphOf } from '../../support/retrieval-graph.ts';

const EMBEDS_TOLERANCE = { absolute: 1e-5, relative: 1e-4 };
const SCORE_TOLERANCE = { absolute: 1e-4 };
/** Of the goldens of one image, or of one text: pairs that were mixed up are far from tolerable. */
const LEAST_SPREAD = 200 * SCORE_TOLERANCE.absolute;
const NOT_COMPARED = -1;

interface Retrieved {
  /** [images][texts] */
  readonly matchProbability: readonly (readonly number[])[];
  readonly cosineSimilarity: readonly (readonly number[])[];
  /** [images][length] or, of BLIP-2, [images][queries * length]; and [texts][length] */
  readonly imageEmbeds: readonly (readonly number[])[];
  readonly textEmbeds: readonly (readonly number[])[];
}

/** Runs the graph with these images and texts of the goldens, by their numbers. */
async function openRetrieval(name: RetrievalCheckpointName, form: GraphForm) {
  const checkpoint = openRetrievalCheckpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const options = { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder } as const;
  const session: Session = await createSession(retrievalGraphOf(checkpoint, weights, { form }), options);
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
          form,
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

function rowsOf(data: Float32Array, [count = 0]: readonly number[]): readonly (readonly number[])[] {
  const length = data.length / count;
  return Array.from({ length: count }, (_, row) => Array.from(data.subarray(row * length, (row + 1) * length)));
}

function indicesOf(list: readonly unknown[]): readonly number[] {
  return list.map((_, index) => index);
}

describe.each(inEachForm(allRetrievalCheckpointNames))(
  '%s in the %s form compares as transformers does',
  (name, form) => {
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
      retrieval = await openRetrieval(name, form);
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
        for (const image of allImages) expect(spread(golden[image] ?? [])).toBeGreaterThan(LEAST_SPREAD);
        for (const text of allTexts) expect(spread(golden.map((row) => row[text] ?? 0))).toBeGreaterThan(LEAST_SPREAD);
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
  },
);

/** Those where the test of the best images means more than that of one image for all texts. */
test.each(['retrieval-wide-vision', 'retrieval-bfloat16', 'blip2-itm'] as const)(
  '%s: the most similar images are not the same for all texts',
  (name) => {
    const { data, shape } = openGoldenTensors(name).floats('cosine_similarity');
    const similarity = rowsOf(data, shape);
    const bestImages = indicesOf(similarity[0] ?? []).map((text) => {
      const column = similarity.map((row) => row[text] ?? 0);
      return column.indexOf(Math.max(...column));
    });
    expect(new Set(bestImages).size).toBeGreaterThan(1);
  },
);
