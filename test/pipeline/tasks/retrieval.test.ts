import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../../pipeline/model.ts';
import { rowsOf, shapesOf, valuesOf } from '../../support/answers.ts';
import { expectClose } from '../../support/close-to.ts';
import {
  allRetrievalCheckpointNames,
  checkpointFolder,
  type GoldenPairs,
  openGoldenTensors,
  readGoldenJson,
  retrievalCheckpointNames,
} from '../../support/goldens.ts';
import { dataUri, type ImageServer, startImageServer, testSettings } from '../../support/server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** End to end, from image files and texts to probabilities: the goldens start from the same files. */

/** A difference of one grey level in the resize moves the numbers. */
const SCORE_TOLERANCE = { absolute: 5e-3 };
/** Tolerance of numbers that are computed in another batch. */
const BATCH_TOLERANCE = { absolute: 1e-5 };
const NOT_COMPARED = -1;
const usual = ['match_probability', 'cosine_similarity'];

describe.each(allRetrievalCheckpointNames)('retrieval with %s', (name) => {
  const { images, texts } = readGoldenJson<GoldenPairs>(`${name}.json`);
  const goldens = openGoldenTensors(name);
  const golden = (tensor: string) => Array.from(goldens.floats(tensor).data);
  const inputs = { img_url: images.map((image) => dataUri(image)), text: texts.map(({ text }) => text) };
  let model: RunningModel;
  beforeAll(async () => {
    model = await startModel(testSettings({ checkpoint: checkpointFolder(name) }));
  });
  afterAll(() => model?.close());

  test('every picture with every text, as transformers compares each pair alone', async () => {
    const answer = await model.infer({ inputs, outputs: usual });
    expect(shapesOf(answer)).toEqual([
      ['match_probability', [3, 4]],
      ['cosine_similarity', [3, 4]],
    ]);
    for (const tensor of usual) expectClose(valuesOf(answer, tensor).map(Number), golden(tensor), SCORE_TOLERANCE);
    expect(answer).toMatchObject({ failures: [], generatedTokens: 0 });
    expect(answer.times.computeMs).toBeGreaterThan(0);
  });

  test('embeddings and errors on request, in the order of the request', async () => {
    const answer = await model.infer({ inputs, outputs: ['error', 'text_embeds', 'image_embeds'] });
    const length = goldens.floats('0.text_embeds').data.length;
    const vectors = goldens.floats(`${images[0]}.image_embeds`).data.length / length;
    const isBlip2 = name.startsWith('blip2');
    expect(vectors > 1).toBe(isBlip2);
    expect(shapesOf(answer)).toEqual([
      ['error', [3]],
      ['text_embeds', [4, length]],
      ['image_embeds', isBlip2 ? [3, vectors, length] : [3, length]],
    ]);
    expect(valuesOf(answer, 'error')).toEqual(['', '', '']);
    const wantedImages = images.flatMap((image) => golden(`${image}.image_embeds`));
    expectClose(valuesOf(answer, 'image_embeds').map(Number), wantedImages, SCORE_TOLERANCE);
    const wantedTexts = texts.flatMap((_, text) => golden(`${text}.text_embeds`));
    expectClose(valuesOf(answer, 'text_embeds').map(Number), wantedTexts, BATCH_TOLERANCE);
    for (const row of [...rowsOf(answer, 'image_embeds'), ...rowsOf(answer, 'text_embeds')])
      expectClose([Math.hypot(...row)], [1], BATCH_TOLERANCE);
  });

  test('the product of embeddings is the cosine, or the largest of those of an image', async () => {
    const answer = await model.infer({ inputs, outputs: ['cosine_similarity', 'image_embeds', 'text_embeds'] });
    const products = rowsOf(answer, 'image_embeds').map((image) =>
      rowsOf(answer, 'text_embeds').map((text) =>
        image.reduce((sum, value, place) => sum + value * (text[place] ?? 0), 0),
      ),
    );
    const perImage = products.length / images.length;
    const largest = images.flatMap((_, image) => {
      const own = products.slice(image * perImage, (image + 1) * perImage);
      return texts.map((__, text) => Math.max(...own.map((row) => row[text] ?? Number.NaN)));
    });
    expectClose(largest, valuesOf(answer, 'cosine_similarity').map(Number), BATCH_TOLERANCE);
  });

  test.each([0, 1, 2, 3, 99])('match_probability with the best %d pictures of each text', async (count) => {
    const answer = await model.infer({ inputs: { ...inputs, rerank_top_k: [count] }, outputs: usual });
    const [matching, similarity] = [rowsOf(answer, 'match_probability'), rowsOf(answer, 'cosine_similarity')];
    const full = rowsOf(await model.infer({ inputs, outputs: ['match_probability'] }), 'match_probability');
    for (const [text] of texts.entries()) {
      const column = similarity.map((row) => row[text] ?? 0);
      const best = column.toSorted((first, second) => second - first).slice(0, count);
      const wanted = column.map((cosine, image) =>
        best.includes(cosine) ? (full[image]?.[text] ?? Number.NaN) : NOT_COMPARED,
      );
      expectClose(
        matching.map((row) => row[text] ?? Number.NaN),
        wanted,
        BATCH_TOLERANCE,
      );
    }
  });

  test('pairs of one request have the values of requests of their own, all at once', async () => {
    const together = await model.infer({ inputs, outputs: usual });
    const alone = await Promise.all(
      inputs.img_url.flatMap((image) =>
        inputs.text.map((text) => model.infer({ inputs: { img_url: [image], text: [text] }, outputs: usual })),
      ),
    );
    for (const tensor of usual) {
      const values = alone.flatMap((answer) => valuesOf(answer, tensor).map(Number));
      expectClose(values, valuesOf(together, tensor).map(Number), BATCH_TOLERANCE);
    }
  });
});

describe('requests that cannot be answered, whole or in part', () => {
  const [name] = retrievalCheckpointNames;
  const { texts } = readGoldenJson<GoldenPairs>(`${name}.json`);
  const [chelsea, rocket] = [dataUri('chelsea'), dataUri('rocket')];
  const text = texts.map((each) => each.text);
  /** 38 words and the two tokens around them fill the positions. */
  const words = (count: number) => Array.from({ length: count }, () => 'dog').join(' ');
  let model: RunningModel;
  let images: ImageServer;
  beforeAll(async () => {
    [model, images] = await Promise.all([
      startModel(testSettings({ checkpoint: checkpointFolder(name), maxQueueSize: 12 })),
      startImageServer(),
    ]);
  });
  afterAll(async () => {
    await model?.close();
    await images?.close();
  });

  test('a picture that cannot be loaded leaves the others alone', async () => {
    const outputs = [...usual, 'image_embeds', 'text_embeds'];
    const good = await model.infer({ inputs: { img_url: [chelsea, rocket], text }, outputs });
    const answer = await model.infer({
      inputs: { img_url: [chelsea, `${images.url}/missing.png`, rocket], text },
      outputs,
    });
    expect(answer.outputs.map(({ name: output }) => output)).toEqual([...outputs, 'error']);
    expect(answer.failures).toMatchObject([{ code: 'IMAGE_FETCH_FAILED' }]);
    expect(valuesOf(answer, 'error')).toEqual([
      '',
      expect.stringMatching(/^IMAGE_FETCH_FAILED: Image [12] of [23]: Expected .*404/),
      '',
    ]);
    const fillers = { match_probability: NOT_COMPARED, cosine_similarity: 0, image_embeds: 0 };
    for (const [output, filler] of Object.entries(fillers)) {
      const [first, failed, last] = rowsOf(answer, output);
      expect([first, last]).toEqual(rowsOf(good, output));
      expect(new Set(failed)).toEqual(new Set([filler]));
    }
    expect(valuesOf(answer, 'text_embeds')).toEqual(valuesOf(good, 'text_embeds'));
  });

  test('the best pictures are those among the ones that could be loaded', async () => {
    const inputs = { img_url: ['!', chelsea, '!'], text, rerank_top_k: [2] };
    const [first, second, third] = rowsOf(await model.infer({ inputs, outputs: usual }), 'match_probability');
    for (const failed of [first, third]) expect(new Set(failed)).toEqual(new Set([NOT_COMPARED]));
    expect(Math.min(...(second ?? []))).toBeGreaterThanOrEqual(0);
  });

  test('where no picture can be loaded, the first failure is thrown', async () => {
    const sources = [`${images.url}/page.html`, `${images.url}/missing.png`];
    await expectHandlerError(model.infer({ inputs: { img_url: sources, text }, outputs: usual }), 'IMAGE_UNSUPPORTED');
  });

  test('a text that is too long is refused, with all others', async () => {
    const fitting = await model.infer({ inputs: { img_url: [chelsea], text: [words(38)] }, outputs: usual });
    expect(fitting.failures).toEqual([]);
    const inputs = { img_url: [chelsea], text: ['a cat', words(39)] };
    const { message } = await expectHandlerError(model.infer({ inputs, outputs: usual }), 'PROMPT_TOO_LONG');
    expect(message).toBe('Expected a text of at most 40 tokens, got 41.');
    const { message: ofMany } = await expectHandlerError(
      model.infer({ inputs: { img_url: [chelsea], text: ['x'.repeat(4_001)] }, outputs: usual }),
      'PROMPT_TOO_LONG',
    );
    expect(ofMany).toBe('Expected a text of at most 4000 characters, got 4001.');
  });

  test('an empty text is a text', async () => {
    const answer = await model.infer({ inputs: { img_url: [chelsea], text: ['', 'a cat'] }, outputs: usual });
    expect(new Set(valuesOf(answer, 'match_probability')).size).toBe(2);
  });

  test('every pair counts as an item: more than can wait are refused', async () => {
    const ask = (sources: readonly string[], count: number) =>
      model.infer({
        inputs: { img_url: sources, text: Array.from({ length: count }, (_, index) => `text ${index}`) },
        outputs: usual,
      });
    expect(shapesOf(await ask([chelsea, rocket], 6))[0]).toEqual(['match_probability', [2, 6]]);
    const { message } = await expectHandlerError(ask([chelsea, rocket], 7), 'INVALID_INPUT');
    expect(message).toContain('at most 12 items in one request, got 14');
    const unread = model.infer({
      inputs: { img_url: [chelsea], text: [words(99), ...Array(12).fill('')] },
      outputs: usual,
    });
    await expectHandlerError(unread, 'INVALID_INPUT');
    const held = ask([`${images.url}/held.png`], 10);
    await images.held(1);
    await expectHandlerError(ask([chelsea], 3), 'OVERLOADED');
    expect(shapesOf(await ask([chelsea], 2))[0]).toEqual(['match_probability', [1, 2]]);
    images.release();
    await held;
    expect(shapesOf(await ask([chelsea], 12))[0]).toEqual(['match_probability', [1, 12]]);
  });
});
