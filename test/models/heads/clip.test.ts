import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { clipImageGraph, clipRankGraph, clipTextGraph } from '../../../models/heads/clip.ts';
import type { GraphForm } from '../../../models/module.ts';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import type { RgbImage } from '../../../pipeline/images/rgb-image.ts';
import { createImageResizer } from '../../../pipeline/sessions/image-resizer.ts';
import { createSession, type RuntimeTensor, type Session } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import { inEachForm } from '../../support/forms.ts';
import { float32s, int64s, paddedTexts, resizedImages } from '../../support/generation-session.ts';
import {
  type Box,
  type ClipCheckpointName,
  checkpointFolder,
  clipCheckpointNames,
  type GoldenClip,
  type GoldenText,
  imagePath,
  openClipCheckpoint,
  openGoldenTensors,
  readGoldenJson,
} from '../../support/goldens.ts';

const EMBEDS_TOLERANCE = { absolute: 1e-5, relative: 1e-4 };
const SCORE_TOLERANCE = { absolute: 1e-4 };
/** Pillow rounds after each pass in fixed point; onnxruntime may be one grey level off, rarely. */
const MAX_DIFFERENCE = 1;
/** Four of the 3072 values of 32 x 32 pixels. */
const MAX_SHARE = 0.0014;

const decodeOptions = { maxPixels: 50_000_000, maxSide: 16_384, applyExif: true };

/** Reads the three graphs of CLIP with the goldens of a checkpoint. */
async function openClip(name: ClipCheckpointName, form: GraphForm) {
  const checkpoint = openClipCheckpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const options = { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder } as const;
  const open = (graph: typeof clipImageGraph) => createSession(graph(checkpoint, weights, { form }), options);
  const [image, text, rank] = [await open(clipImageGraph), await open(clipTextGraph), await open(clipRankGraph)];
  const goldens = openGoldenTensors(name);
  const run = async (session: Session, inputs: Record<string, RuntimeTensor>) => {
    const outputs = await session.run(inputs);
    return (tensor: string) => (outputs[tensor]?.data ?? new Float32Array()) as Float32Array;
  };
  return {
    length: checkpoint.config.projectionSize,
    encodeImages: (names: readonly string[]) => run(image, { images: resizedImages(names, goldens, 'cropped') }),
    encodeTexts(texts: readonly GoldenText[]) {
      const { ids } = paddedTexts(texts.map(({ input_ids: tokens }) => tokens));
      // The end token has the largest id, and the first one stands for the text.
      const ends = texts.map(({ input_ids: tokens }) => tokens.indexOf(Math.max(...tokens)));
      return run(text, { input_ids: ids, end_position: int64s(ends) });
    },
    rank(queries: Float32Array, candidates: Float32Array, length: number) {
      const rows = (data: Float32Array) => float32s([...data], [data.length / length, length]);
      return run(rank, { queries: rows(queries), candidates: rows(candidates) });
    },
    async release() {
      for (const session of [image, text, rank]) await session.release();
    },
  };
}

describe.each(inEachForm(clipCheckpointNames))(
  '%s in the %s form computes what transformers computes',
  (name, form) => {
    const goldens = openGoldenTensors(name);
    const { images, texts } = readGoldenJson<GoldenClip>(`${name}.json`);
    let clip: Awaited<ReturnType<typeof openClip>>;
    beforeAll(async () => {
      clip = await openClip(name, form);
    });
    afterAll(() => clip?.release());

    /** Embeddings of these rows of the goldens, as CLIP gives them and of unit length. */
    function expectGolden(
      kind: 'image' | 'text',
      rows: readonly number[],
      output: (tensor: string) => Float32Array,
    ): void {
      for (const tensor of [`${kind}_embeds`, `normalized_${kind}_embeds`]) {
        const { data, shape } = goldens.floats(tensor);
        const expected = rows.flatMap((row) => [...data.subarray(row * clip.length, (row + 1) * clip.length)]);
        expect(shape[1]).toBe(clip.length);
        expectClose(output(tensor), expected, EMBEDS_TOLERANCE);
      }
    }

    test.each(images.map((image, row) => [image, row] as const))(
      'from the cropped pixels of %s',
      async (image, row) => {
        expectGolden('image', [row], await clip.encodeImages([image]));
      },
    );

    test('from several pictures, whatever their order', async () => {
      const [first = 'chelsea', , third = 'small'] = images;
      expectGolden('image', [2, 0, 2], await clip.encodeImages([third, first, third]));
    });

    test.each(texts.map((text, row) => [text.text, text, row] as const))('from the text %j', async (_, text, row) => {
      expectGolden('text', [row], await clip.encodeTexts([text]));
    });

    test('from texts of different lengths together, whatever their order', async () => {
      const rows = texts.map((_, row) => row);
      expect(new Set(texts.map(({ input_ids: ids }) => ids.length)).size).toBeGreaterThan(3);
      expectGolden('text', rows, await clip.encodeTexts(texts));
      const others = [...rows.toReversed(), 1];
      expectGolden('text', others, await clip.encodeTexts(others.flatMap((row) => texts[row] ?? [])));
    });

    test('the cosines, and the probabilities of every picture', async () => {
      const embeds = (kind: string) => goldens.floats(`normalized_${kind}_embeds`).data;
      const ranked = await clip.rank(embeds('image'), embeds('text'), clip.length);
      for (const tensor of ['cosine_similarity', 'probability'])
        expectClose(ranked(tensor), goldens.floats(tensor).data, SCORE_TOLERANCE);
      for (const [row] of images.entries()) {
        const ofImage = ranked('probability').subarray(row * texts.length, (row + 1) * texts.length);
        expectClose([ofImage.reduce((sum, probability) => sum + probability, 0)], [1], SCORE_TOLERANCE);
      }
    });

    test('one query with one candidate has a probability of one', async () => {
      const [query, candidate] = ['image', 'text'].map((kind) =>
        goldens.floats(`normalized_${kind}_embeds`).data.subarray(0, clip.length),
      );
      const ranked = await clip.rank(query ?? new Float32Array(), candidate ?? new Float32Array(), clip.length);
      expectClose(ranked('probability'), [1], SCORE_TOLERANCE);
    });
  },
);

function cut(image: RgbImage, [left, top, right, bottom]: Box): RgbImage {
  const rows = Array.from({ length: bottom - top }, (_, row) => (top + row) * image.width);
  const parts = rows.map((start) => image.data.subarray((start + left) * 3, (start + right) * 3));
  return { width: right - left, height: bottom - top, data: new Uint8Array(Buffer.concat(parts)) };
}

describe.each(clipCheckpointNames)('%s crops as transformers does', (name) => {
  const { imageProcessor, config } = openClipCheckpoint(checkpointFolder(name));
  const { parts } = readGoldenJson<GoldenClip>(`${name}.json`);
  const goldens = openGoldenTensors(name);

  test.each(Object.entries(parts))('%s', async (part, { file, box }) => {
    const picture = await decodeImage(readFileSync(imagePath(file)), decodeOptions);
    const resizer = await createImageResizer(imageProcessor, config.vision.imageSize, 1);
    const resized = await resizer.resizeAll([box === null ? picture : cut(picture, box)]);
    await resizer.release();
    const golden = goldens.bytes(`${part}.cropped`);
    expect(resized.shape).toEqual([1, ...golden.shape]);
    const differences = Array.from(golden.data, (value, index) => Math.abs(value - Number(resized.data[index])));
    expect(Math.max(...differences)).toBeLessThanOrEqual(MAX_DIFFERENCE);
    expect(differences.filter((difference) => difference > 0).length / differences.length).toBeLessThanOrEqual(
      MAX_SHARE,
    );
  });
});
