import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { rowsOf, valuesOf } from '../support/answers.ts';
import { expectClose } from '../support/close-to.ts';
import {
  blip2RetrievalCheckpointNames,
  checkpointFolder,
  type GoldenPairs,
  openGoldenTensors,
  readGoldenJson,
} from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';

/** `Blip2ForImageTextRetrieval` compares images with texts as transformers does (make_blip2_goldens.py). */

const TOLERANCE = { absolute: 1e-4 };

describe.each(blip2RetrievalCheckpointNames)('%s', (name) => {
  const tensors = openGoldenTensors(name);
  const { images, texts }: GoldenPairs = readGoldenJson(`${name}.json`);
  let model: RunningModel | undefined;
  let pictures: readonly Uint8Array[] = [];
  beforeAll(async () => {
    pictures = await Promise.all(
      images.map(async (image) => {
        const { data, shape } = tensors.bytes(`${image}.resized`);
        const [height = 0, width = 0] = shape;
        return await sharp(data, { raw: { width, height, channels: 3 } })
          .png()
          .toBuffer();
      }),
    );
    model = await startModel(testSettings({ checkpoint: checkpointFolder(name) }));
  });
  afterAll(() => model?.close());

  const infer = (given: readonly Uint8Array[], text: readonly string[], more: object = {}) => {
    if (model === undefined) throw new Error('Expected a model that has started.');
    const outputs = ['match_probability', 'cosine_similarity', 'image_embeds', 'text_embeds'];
    return model.infer({ inputs: { img_url: given, text, ...more }, outputs });
  };
  const wanted = (output: string) => Array.from(tensors.floats(output).data);

  test('every image with every text, of several lengths, at once', async () => {
    const answer = await infer(
      pictures,
      texts.map(({ text }) => text),
    );
    for (const output of ['match_probability', 'cosine_similarity'])
      expectClose(valuesOf(answer, output).map(Number), wanted(output), TOLERANCE);
    const [, , { shape } = { shape: [] }] = answer.outputs;
    const queries = tensors.floats(`${images[0]}.image_embeds`).shape;
    expect(shape).toEqual([images.length, ...queries]);
    expectClose(
      valuesOf(answer, 'image_embeds').map(Number),
      images.flatMap((image) => wanted(`${image}.image_embeds`)),
      TOLERANCE,
    );
    for (const [index, row] of rowsOf(answer, 'text_embeds').entries())
      expectClose(row, wanted(`${index}.text_embeds`), TOLERANCE);
  });

  test('each pair alone', async () => {
    for (const [row, picture] of pictures.entries())
      for (const [column, { text }] of texts.entries()) {
        const answer = await infer([picture], [text]);
        for (const output of ['match_probability', 'cosine_similarity'])
          expectClose(
            valuesOf(answer, output).map(Number),
            [wanted(output)[row * texts.length + column] ?? 0],
            TOLERANCE,
          );
      }
  });

  test('ITM of the most similar images alone', async () => {
    const [{ text } = { text: '' }] = texts;
    const answer = await infer(pictures, [text], { rerank_top_k: 1 });
    const similarities = images.map((_, row) => wanted('cosine_similarity')[row * texts.length] ?? 0);
    const best = similarities.indexOf(Math.max(...similarities));
    const probability = valuesOf(answer, 'match_probability').map(Number);
    expect(probability.map((value) => value === -1)).toEqual(images.map((_, row) => row !== best));
    expectClose([probability[best] ?? 0], [wanted('match_probability')[best * texts.length] ?? 0], TOLERANCE);
  });
});
