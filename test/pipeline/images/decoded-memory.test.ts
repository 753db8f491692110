import { getEventListeners } from 'node:events';
import { cpSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { describe, expect, onTestFinished, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { releaseImages } from '../../../pipeline/images/held-images.ts';
import { loadImage } from '../../../pipeline/images/image-source.ts';
import { decodedBudget as processBudget } from '../../../pipeline/images/process-budget.ts';
import { startModel } from '../../../pipeline/model.ts';
import type { Settings } from '../../../pipeline/settings.ts';
import { valuesOf } from '../../support/answers.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { testSettings } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** Images of 60 x 50 pixels, with budgets for a few of them. */

const [WIDTH, HEIGHT] = [60, 50];
const IMAGE_BYTES = WIDTH * HEIGHT * 3;

async function picture(grey: number, height = HEIGHT): Promise<Buffer> {
  const background = { r: grey, g: grey, b: grey };
  return await sharp({ create: { width: WIDTH, height, channels: 3, background } })
    .png()
    .toBuffer();
}

const source = async (grey: number, height = HEIGHT) => (await picture(grey, height)).toString('base64');
const sources = (count: number) => Promise.all(Array.from({ length: count }, (_, index) => source(index)));

const reason = new Error('dropped');

/** Resolves when that many wait for something until the signal aborts. */
const listeners = (signal: AbortSignal, count: number) =>
  expect.poll(() => getEventListeners(signal, 'abort').length, { timeout: 60_000 }).toBe(count);

/** A model, alone in the process: the next test may set another limit when it is closed. */
async function start(
  checkpoint: Parameters<typeof checkpointFolder>[0],
  maxDecodedBytes: number,
  changes: Partial<Settings> = {},
) {
  const model = await startModel(
    testSettings({ checkpoint: checkpointFolder(checkpoint), maxDecodedBytes, ...changes }),
  );
  onTestFinished(() => model.close());
  return model;
}

describe('an image', () => {
  const options = {
    timeoutMs: 1_000,
    maxBytes: 1_000_000,
    maxRedirects: 0,
    maxPixels: 1_000_000,
    maxSide: 10_000,
    applyExif: true,
    httpsOnly: false,
    allowedHosts: [],
    privateHosts: [],
  };

  test('waits before it is decoded until there is memory, and says how long', async () => {
    const limited = { ...options, decodedBudget: new FixedByteBudget(IMAGE_BYTES * 2 - 1) };
    const { image } = await loadImage(await source(1), limited);
    const { signal } = new AbortController();
    const second = loadImage(await source(2), { ...limited, signal });
    await listeners(signal, 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    releaseImages([image, image]);
    const { image: other, queueMs, decodeMs } = await second;
    expect(other.data).toHaveLength(IMAGE_BYTES);
    expect(queueMs).toBeGreaterThan(10);
    expect(decodeMs).toBeGreaterThan(0);
  });

  test('whose request is dropped while it waits for memory leaves its place to the next', async () => {
    const decodedBudget = new FixedByteBudget(IMAGE_BYTES);
    const { image } = await loadImage(await source(1), { ...options, decodedBudget });
    const dropped = new AbortController();
    const waiting = loadImage(await source(2), { ...options, decodedBudget, signal: dropped.signal });
    const next = loadImage(await source(3), { ...options, decodedBudget });
    await listeners(dropped.signal, 1);
    dropped.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    releaseImages([image]);
    releaseImages([(await next).image]);
    (await decodedBudget.acquire(IMAGE_BYTES))();
  });

  test('that does not decode, or is too large, holds no memory afterwards', async () => {
    const limited = { ...options, decodedBudget: new FixedByteBudget(IMAGE_BYTES) };
    const broken = (await picture(1)).subarray(0, -20).toString('base64');
    for (let count = 0; count < 3; count += 1) {
      await expectHandlerError(loadImage(broken, limited), 'IMAGE_CORRUPT');
      await expectHandlerError(loadImage(await source(1, HEIGHT + 1), limited), 'IMAGE_TOO_LARGE');
      releaseImages([(await loadImage(await source(1), limited)).image]);
    }
  });
});

describe('captions', () => {
  test('of a request that is dropped while its images wait hold no memory afterwards', async () => {
    const model = await start('narrow-vision', IMAGE_BYTES + 2, { batchWindowMs: 60_000, maxBatchSize: 2 });
    const images = await sources(2);
    const dropped = new AbortController();
    // One image has the memory and waits for others to share its batch; the second waits for its memory.
    const answer = model.infer({ inputs: { img_url: images }, outputs: ['generated_output'], signal: dropped.signal });
    const { budget, leave } = processBudget.join(IMAGE_BYTES + 2);
    onTestFinished(leave);
    await listeners(dropped.signal, 3); // The third is that of the whole request.
    dropped.abort(reason);
    await expect(answer).rejects.toBe(reason);
    (await budget.acquire(IMAGE_BYTES + 2))();
  });

  test('of more images than there is memory for all come, in one request and in several', async () => {
    const model = await start('narrow-vision', IMAGE_BYTES * 2);
    const images = await sources(9);
    const asked = [images, images.slice(0, 5), images.slice(4)].map((img_url) =>
      model.infer({ inputs: { img_url }, outputs: ['generated_output'] }),
    );
    const answers = await Promise.all(asked);
    expect(answers.map((answer) => valuesOf(answer, 'generated_output').length)).toEqual([9, 5, 5]);
    expect(answers.flatMap(({ failures }) => failures)).toEqual([]);
  });

  test('of an image that takes more than the budget are refused, the others are not', async () => {
    const model = await start('narrow-vision', IMAGE_BYTES * 2 + 1);
    const images = [await source(1), await source(2, HEIGHT * 3), await source(3)];
    const answer = await model.infer({ inputs: { img_url: images }, outputs: ['generated_output', 'error'] });
    expect(answer.failures).toMatchObject([
      { code: 'IMAGE_TOO_LARGE', message: expect.stringMatching(/got 27000\.$/) },
    ]);
    expect(valuesOf(answer, 'error')).toEqual(['', expect.stringMatching(/^IMAGE_TOO_LARGE/), '']);
  });

  test('of images of a wrong size for the checkpoint hold no memory afterwards', async () => {
    const folder = temporaryFolder();
    cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
    writeFileSync(`${folder}/preprocessor_config.json`, JSON.stringify({ do_resize: false }));
    const model = await start('narrow-vision', IMAGE_BYTES + 1, { checkpoint: folder });
    for (const image of await sources(3))
      await expectHandlerError(
        model.infer({ inputs: { img_url: [image] }, outputs: ['generated_output'] }),
        'IMAGE_UNSUPPORTED',
      );
  });
});

describe.each([
  ['retrieval', 'retrieval-wide-vision', 'cosine_similarity'],
  ['clip', 'clip-placeholder-end', 'probability'],
] as const)('%s', (_, checkpoint, output) => {
  const budgets = { retrieval: IMAGE_BYTES * 2 + 2, clip: IMAGE_BYTES * 2 + 3 };
  const budget = checkpoint === 'retrieval-wide-vision' ? budgets.retrieval : budgets.clip;

  test('refuses a request that needs more images at once than there is memory for, and goes on', async () => {
    const model = await start(checkpoint, budget);
    const images = await sources(3);
    for (let count = 0; count < 2; count += 1) {
      const refused = await model.infer({ inputs: { img_url: images, text: ['a cat'] }, outputs: ['error'] }).then(
        ({ failures }) => failures, // The texts of CLIP have their embeddings.
        (error: unknown) => [error, error, error],
      );
      expect(refused).toMatchObject(
        images.map(() => ({ code: 'IMAGE_TOO_LARGE', message: expect.stringMatching(/got 27000\.$/) })),
      );
      const answer = await model.infer({ inputs: { img_url: images.slice(0, 2), text: ['a cat'] }, outputs: [output] });
      expect(valuesOf(answer, output)).toHaveLength(2);
    }
  });

  test('answers many requests that have memory for one at a time, and counts an image once', async () => {
    const model = await start(checkpoint, budget + 2);
    const [first = '', second = ''] = await sources(2);
    const asked = Array.from({ length: 8 }, () =>
      model.infer({ inputs: { img_url: [first, second, first, second], text: ['a cat'] }, outputs: [output] }),
    );
    for (const answer of await Promise.all(asked)) expect(valuesOf(answer, output)).toHaveLength(4);
  });

  test('counts no image that cannot be loaded', async () => {
    const model = await start(checkpoint, budget + 4);
    const images = ['data:,nothing', ...(await sources(2)), 'data:;base64,####'];
    for (let count = 0; count < 3; count += 1) {
      const { failures } = await model.infer({ inputs: { img_url: images, text: ['a cat'] }, outputs: [output] });
      expect(failures).toHaveLength(2);
    }
  });
});
