import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../../pipeline/model.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { rowsOf, shapesOf, valuesOf } from '../../support/answers.ts';
import { expectClose } from '../../support/close-to.ts';
import {
  checkpointFolder,
  clipCheckpointNames,
  type GoldenClip,
  openGoldenTensors,
  readGoldenJson,
} from '../../support/goldens.ts';
import { dataUri, type ImageServer, startImageServer, testSettings } from '../../support/server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** End to end, from image files and texts to embeddings: the goldens start from the same files. */

/** A difference of one grey level in the resize moves the numbers of pictures. */
const IMAGE_TOLERANCE = { absolute: 2e-2 };
const SCORE_TOLERANCE = { absolute: 5e-3 };
const TEXT_TOLERANCE = { absolute: 1e-5, relative: 1e-4 };
/** Tolerance of numbers that are computed in another batch. */
const BATCH_TOLERANCE = { absolute: 1e-5 };
const usual = ['image_embeds', 'text_embeds', 'probability', 'cosine_similarity'];

describe.each(clipCheckpointNames)('CLIP with %s', (name) => {
  const { images, texts, tokenized } = readGoldenJson<GoldenClip>(`${name}.json`);
  const goldens = openGoldenTensors(name);
  const golden = (tensor: string) => Array.from(goldens.floats(tensor).data);
  const [length = 0] = goldens.floats('image_embeds').shape.slice(1);
  const pictures = { img_url: images.map((image) => dataUri(image)) };
  const descriptions = { text: texts.map(({ text }) => text) };
  let model: RunningModel;
  beforeAll(async () => {
    model = await startModel(testSettings({ checkpoint: checkpointFolder(name) }));
  });
  afterAll(() => model?.close());

  test.each(tokenized)('the tokenizer makes the ids of transformers of $text', ({ text, ids }) => {
    expect(openTokenizer(checkpointFolder(name)).encode(text)).toEqual(ids);
  });

  test('pictures with texts have embeddings, cosines and probabilities', async () => {
    const answer = await model.infer({ inputs: { ...pictures, ...descriptions }, outputs: usual });
    expect(shapesOf(answer)).toEqual([
      ['image_embeds', [images.length, length]],
      ['text_embeds', [texts.length, length]],
      ['probability', [images.length, texts.length]],
      ['cosine_similarity', [images.length, texts.length]],
    ]);
    expectClose(valuesOf(answer, 'image_embeds').map(Number), golden('image_embeds'), IMAGE_TOLERANCE);
    expectClose(valuesOf(answer, 'text_embeds').map(Number), golden('text_embeds'), TEXT_TOLERANCE);
    for (const tensor of ['probability', 'cosine_similarity'])
      expectClose(valuesOf(answer, tensor).map(Number), golden(tensor), SCORE_TOLERANCE);
    for (const row of rowsOf(answer, 'probability'))
      expectClose([row.reduce((sum, probability) => sum + probability, 0)], [1], BATCH_TOLERANCE);
    expect(answer).toMatchObject({ failures: [], generatedTokens: 0 });
    expect(answer.times.computeMs).toBeGreaterThan(0);
  });

  test('pictures alone have embeddings, and nothing else', async () => {
    const answer = await model.infer({ inputs: pictures, outputs: usual });
    expect(shapesOf(answer)).toEqual([['image_embeds', [images.length, length]]]);
    expectClose(valuesOf(answer, 'image_embeds').map(Number), golden('image_embeds'), IMAGE_TOLERANCE);
  });

  test('texts alone have embeddings, and nothing else', async () => {
    const answer = await model.infer({ inputs: descriptions, outputs: usual });
    expect(shapesOf(answer)).toEqual([['text_embeds', [texts.length, length]]]);
    expectClose(valuesOf(answer, 'text_embeds').map(Number), golden('text_embeds'), TEXT_TOLERANCE);
  });

  test('normalize makes embeddings of unit length, and changes nothing else', async () => {
    const inputs = { ...pictures, ...descriptions };
    const answer = await model.infer({ inputs: { ...inputs, normalize: [true] }, outputs: usual });
    expectClose(valuesOf(answer, 'image_embeds').map(Number), golden('normalized_image_embeds'), SCORE_TOLERANCE);
    expectClose(valuesOf(answer, 'text_embeds').map(Number), golden('normalized_text_embeds'), TEXT_TOLERANCE);
    for (const row of [...rowsOf(answer, 'image_embeds'), ...rowsOf(answer, 'text_embeds')])
      expectClose([Math.hypot(...row)], [1], BATCH_TOLERANCE);
    const raw = await model.infer({ inputs: { ...inputs, normalize: [false] }, outputs: usual });
    for (const tensor of ['probability', 'cosine_similarity'])
      expect(valuesOf(answer, tensor)).toEqual(valuesOf(raw, tensor));
    for (const row of rowsOf(raw, 'image_embeds')) expect(Math.abs(Math.hypot(...row) - 1)).toBeGreaterThan(0.1);
    expect(raw.outputs).toEqual((await model.infer({ inputs, outputs: usual })).outputs);
  });

  test('exactly the outputs that were asked for, in their order', async () => {
    const names = ['error', 'cosine_similarity', 'image_embeds'];
    const answer = await model.infer({ inputs: { ...pictures, ...descriptions }, outputs: names });
    expect(answer.outputs.map((output) => output.name)).toEqual(names);
    expect(valuesOf(answer, 'error')).toEqual(images.map(() => ''));
  });

  test('items of one request have the values of requests of their own, all at once', async () => {
    const together = await model.infer({ inputs: { ...pictures, ...descriptions }, outputs: usual });
    const alone = await Promise.all([
      ...pictures.img_url.map((image) => model.infer({ inputs: { img_url: [image] }, outputs: ['image_embeds'] })),
      ...descriptions.text.map((text) => model.infer({ inputs: { text: [text] }, outputs: ['text_embeds'] })),
    ]);
    const values = alone.flatMap(({ outputs }) => outputs.flatMap(({ data }) => data.map(Number)));
    const wanted = ['image_embeds', 'text_embeds'].flatMap((tensor) => valuesOf(together, tensor).map(Number));
    expectClose(values, wanted, TEXT_TOLERANCE);
  });
});

describe('requests that cannot be answered, whole or in part', () => {
  const [name] = clipCheckpointNames;
  const [chelsea, rocket] = [dataUri('chelsea'), dataUri('rocket')];
  const text = ['a cat', 'two dogs'];
  let model: RunningModel;
  let images: ImageServer;
  beforeAll(async () => {
    [model, images] = await Promise.all([
      startModel(testSettings({ checkpoint: checkpointFolder(name), maxQueueSize: 6 })),
      startImageServer(),
    ]);
  });
  afterAll(async () => {
    await model?.close();
    await images?.close();
  });

  test('a picture that cannot be loaded leaves the others and the texts alone', async () => {
    const good = await model.infer({ inputs: { img_url: [chelsea, rocket], text }, outputs: usual });
    const answer = await model.infer({
      inputs: { img_url: [chelsea, `${images.url}/missing.png`, rocket], text },
      outputs: usual,
    });
    expect(answer.outputs.map((output) => output.name)).toEqual([...usual, 'error']);
    expect(answer.failures).toMatchObject([{ code: 'IMAGE_FETCH_FAILED' }]);
    expect(valuesOf(answer, 'error')).toEqual([
      '',
      expect.stringMatching(/^IMAGE_FETCH_FAILED: Image [12] of [23]: Expected .*404/),
      '',
    ]);
    for (const tensor of ['image_embeds', 'probability', 'cosine_similarity']) {
      const [first, failed, last] = rowsOf(answer, tensor);
      expect([first, last]).toEqual(rowsOf(good, tensor));
      expect(new Set(failed)).toEqual(new Set([0]));
    }
    expect(valuesOf(answer, 'text_embeds')).toEqual(valuesOf(good, 'text_embeds'));
  });

  test('where no picture can be loaded, texts have their embeddings', async () => {
    const good = await model.infer({ inputs: { text }, outputs: usual });
    const answer = await model.infer({ inputs: { img_url: ['!', `${images.url}/missing.png`], text }, outputs: usual });
    expect(valuesOf(answer, 'text_embeds')).toEqual(valuesOf(good, 'text_embeds'));
    expect(new Set(valuesOf(answer, 'image_embeds'))).toEqual(new Set([0]));
    expect(answer.failures).toMatchObject([{ code: 'IMAGE_SOURCE_INVALID' }, { code: 'IMAGE_FETCH_FAILED' }]);
    expect(valuesOf(answer, 'error')).toEqual([
      expect.stringMatching(/^IMAGE_SOURCE_INVALID: /),
      expect.stringMatching(/^IMAGE_FETCH_FAILED: /),
    ]);
  });

  test('where no picture can be loaded and there are no texts, the first failure is thrown', async () => {
    const sources = [`${images.url}/page.html`, `${images.url}/missing.png`];
    await expectHandlerError(model.infer({ inputs: { img_url: sources }, outputs: usual }), 'IMAGE_UNSUPPORTED');
  });

  test('a request without pictures and texts is refused', async () => {
    const { message } = await expectHandlerError(
      model.infer({ inputs: { normalize: [true] }, outputs: usual }),
      'INVALID_INPUT',
    );
    expect(message).toBe('Expected img_url or text, got neither.');
  });

  test('more queries or candidates than there are items are refused; repeated ones are not', async () => {
    const repeated = await model.infer({
      inputs: { text, queries: [1, 1], candidates: [0, 1] },
      outputs: ['cosine_similarity'],
    });
    expect(shapesOf(repeated)).toEqual([['cosine_similarity', [2, 2]]]);
    for (const name of ['queries', 'candidates']) {
      const { message } = await expectHandlerError(
        model.infer({ inputs: { text, [name]: [0, 0, 0] }, outputs: usual }),
        'INVALID_INPUT',
      );
      expect(message).toBe(`Expected ${name} to be at most as many as there are images and texts, 2, got 3.`);
    }
  });

  test('a text that is too long is refused, with all others', async () => {
    const digits = (count: number) => '7'.repeat(count); // A token each.
    expect((await model.infer({ inputs: { text: [digits(22)] }, outputs: usual })).failures).toEqual([]);
    const inputs = { img_url: [chelsea], text: ['a cat', digits(23)] };
    const { message } = await expectHandlerError(model.infer({ inputs, outputs: usual }), 'PROMPT_TOO_LONG');
    expect(message).toBe('Expected a text of at most 24 tokens, got 25.');
    const { message: ofMany } = await expectHandlerError(
      model.infer({ inputs: { text: ['x'.repeat(2_401)] }, outputs: usual }),
      'PROMPT_TOO_LONG',
    );
    expect(ofMany).toBe('Expected a text of at most 2400 characters, got 2401.');
  });

  test('pictures and texts count as items: more than can wait are refused', async () => {
    const texts = (count: number) => Array.from({ length: count }, (_, index) => `text ${index}`);
    expect(
      shapesOf(await model.infer({ inputs: { img_url: [chelsea, rocket], text: texts(4) }, outputs: usual }))[2],
    ).toEqual(['probability', [2, 4]]);
    const tooMany = model.infer({ inputs: { img_url: [chelsea, rocket], text: texts(5) }, outputs: usual });
    const { message } = await expectHandlerError(tooMany, 'INVALID_INPUT');
    expect(message).toContain('at most 6 items in one request, got 7');
    // Before any is read: the first is too long.
    await expectHandlerError(
      model.infer({ inputs: { text: ['7'.repeat(99), ...texts(6)] }, outputs: usual }),
      'INVALID_INPUT',
    );
    const held = model.infer({ inputs: { img_url: [`${images.url}/held.png`], text: texts(3) }, outputs: usual });
    await images.held(1);
    await expectHandlerError(model.infer({ inputs: { text: texts(3) }, outputs: usual }), 'OVERLOADED');
    expect(shapesOf(await model.infer({ inputs: { text: texts(2) }, outputs: usual }))).toHaveLength(1);
    images.release();
    await held;
    expect(shapesOf(await model.infer({ inputs: { text: texts(6) }, outputs: usual }))).toHaveLength(1);
  });
});
