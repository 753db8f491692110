import sharp from 'sharp';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import type { ImageCacheUse } from '../../pipeline/sessions/image-cache.ts';
import { encodingKey, ImageCache } from '../../pipeline/sessions/image-cache.ts';
import { cachedImageBytes } from '../../pipeline/sessions/image-cache-size.ts';
import { loadSession } from '../../pipeline/sessions/load-session.ts';
import * as runtime from '../../pipeline/sessions/runtime.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { greedySettings } from '../support/greedy-settings.ts';
import { testSettings } from '../support/server.ts';
import { recordRuns } from '../support/session-runs.ts';

/** A model that keeps encoded images answers as one that keeps none. */

type Name = Parameters<typeof checkpointFolder>[0];
const MUCH = 10_000_000;

async function start(name: Name, imageCacheBytes: number, changes: Partial<Settings> = {}) {
  const uses: (ImageCacheUse | undefined)[] = [];
  const notices: string[] = [];
  const settings = testSettings({ checkpoint: checkpointFolder(name), imageCacheBytes, ...changes });
  const model = await startModel(settings, {
    batchDone: (_, __, use) => void uses.push(use),
    onNotice: (line) => void notices.push(line),
  });
  onTestFinished(() => model.close());
  return { model, uses, notices };
}

/** Different pictures, as files without loss. */
async function pictures(count: number, format: 'png' | 'webp' = 'png'): Promise<readonly string[]> {
  const files = Array.from({ length: count }, (_, index) => {
    const background = { r: 20 * index, g: 255 - 30 * index, b: 90 };
    const create = { width: 50 + index, height: 40, channels: 3, background } as const;
    return sharp({ create })
      .composite([{ input: { create: { width: 20, height: 9, channels: 3, background: 'red' } }, left: index, top: 7 }])
      .toFormat(format, { lossless: true })
      .toBuffer();
  });
  return (await Promise.all(files)).map((file) => file.toString('base64'));
}

const answersOf = async (model: RunningModel, inputs: object, outputs: readonly string[], client?: string) =>
  (await model.infer({ inputs, outputs, client })).outputs;
const counts = (uses: readonly (ImageCacheUse | undefined)[]) => uses.map((use) => [use?.hits, use?.misses]);

const few = { max_new_tokens: [6], min_new_tokens: [2], num_beams: [2] };
const generated = ['token_ids', 'token_logprobs', 'sequence_score'];

describe.each([
  ['narrow-vision', { text: ['', 'a picture of'], ...few }, generated],
  ['answers-float32', { question: ['what is it', 'is it red'], ...few }, generated],
  ['answers-float32', { question: ['what is it', 'where'], candidates: ['a', 'the cat', 'of'] }, ['sequence_score']],
  ['retrieval-wide-vision', { text: ['a cat', 'the'] }, ['match_probability', 'cosine_similarity', 'image_embeds']],
  ['blip2-itm', { text: ['a cat', 'the'] }, ['match_probability', 'cosine_similarity', 'image_embeds']],
  ['clip-real-end', { text: ['a cat'] }, ['image_embeds', 'probability']],
  ['blip2-itm', { text: ['a cat', 'the'] }, ['match_probability', 'cosine_similarity', 'image_embeds']],
  ['blip2-opt', { text: ['', 'a picture of'], ...few }, generated],
  ['blip2-t5', { question: ['what is it', 'is it red'], ...few }, generated],
  ['instructblip-t5', { question: ['what is it', 'is it red'], ...few }, generated],
] as const)('%s with %j', (name, inputs, outputs) => {
  const imageCount = 2;

  test('answers bit for bit as without a cache, and looks at each picture once', async () => {
    const images = await pictures(imageCount);
    const request = { img_url: images, ...inputs };
    const plain = await start(name, 0);
    const expected = await answersOf(plain.model, request, outputs);
    expect(plain.uses).toEqual([undefined]);
    const { model, uses } = await start(name, MUCH);
    for (let turn = 0; turn < 3; turn += 1) expect(await answersOf(model, request, outputs)).toEqual(expected);
    expect(counts(uses)).toEqual([
      [0, imageCount],
      [imageCount, 0],
      [imageCount, 0],
    ]);
    const bytes = imageCount * cachedImageBytes(openCheckpoint(checkpointFolder(name)));
    expect(uses.map((use) => use?.bytes)).toEqual([bytes, bytes, bytes]);
  });
});

describe('the cache of images', () => {
  const caption = { max_new_tokens: [3] };
  const outputs = ['token_ids'];

  test('answers a batch of new and of known pictures, in any order', async () => {
    const images = await pictures(5);
    const [plain, cached] = [await start('retrieval-wide-vision', 0), await start('retrieval-wide-vision', MUCH)];
    const names = ['match_probability', 'image_embeds'];
    await answersOf(cached.model, { img_url: [images[3], images[1]], text: ['a cat'] }, names);
    for (const chosen of [images, images.toReversed(), [images[2], images[2], images[0]]]) {
      const request = { img_url: chosen, text: ['a cat', 'the dog'] };
      expect(await answersOf(cached.model, request, names)).toEqual(await answersOf(plain.model, request, names));
    }
    expect(counts(cached.uses)).toEqual([
      [0, 2],
      [2, 3],
      [5, 0],
      [3, 0],
    ]);
  });

  test('knows a picture by its pixels, whatever file they are in', async () => {
    const { model, uses } = await start('narrow-vision', MUCH);
    for (const format of ['png', 'webp'] as const)
      await answersOf(model, { img_url: await pictures(1, format), ...caption }, outputs);
    expect(counts(uses)).toEqual([
      [0, 1],
      [1, 0],
    ]);
  });

  test.each(['narrow-vision', 'clip-real-end', 'retrieval-wide-vision'] as const)(
    'is each client’s own: %s',
    async (name) => {
      const { model, uses } = await start(name, MUCH);
      const inputs = name === 'retrieval-wide-vision' ? { text: ['a'] } : {};
      const request = { img_url: await pictures(1), ...inputs, ...(name === 'narrow-vision' ? caption : {}) };
      for (const client of ['one', 'other', 'one', 'other', undefined]) await model.infer({ inputs: request, client });
      expect(counts(uses)).toEqual([
        [0, 1],
        [0, 1],
        [1, 0],
        [1, 0],
        [0, 1],
      ]);
    },
  );

  test('forgets the picture that was used longest ago, where there is no room', async () => {
    const imageBytes = cachedImageBytes(openCheckpoint(checkpointFolder('narrow-vision')));
    const { model, uses } = await start('narrow-vision', 2 * imageBytes);
    const [a, b, c] = await pictures(3);
    for (const source of [a, b, a, c, a, b]) await answersOf(model, { img_url: [source], ...caption }, outputs);
    expect(counts(uses).map(([hits]) => hits)).toEqual([0, 0, 1, 0, 1, 0]);
    expect(Math.max(...uses.map((use) => use?.bytes ?? 0))).toBe(2 * imageBytes);
  });

  test('serves a batch of more pictures than it has room for, and keeps its bound', async () => {
    const imageBytes = cachedImageBytes(openCheckpoint(checkpointFolder('narrow-vision')));
    const { model, uses } = await start('narrow-vision', 2 * imageBytes);
    const plain = await start('narrow-vision', 0);
    const images = await pictures(5);
    for (const chosen of [images, images.toReversed(), [images[4], images[1]]]) {
      const request = { img_url: chosen, max_new_tokens: [6], num_beams: [2], num_return_sequences: [2] };
      expect(await answersOf(model, request, generated)).toEqual(await answersOf(plain.model, request, generated));
    }
    expect(uses.every((use) => (use?.bytes ?? 0) <= 2 * imageBytes)).toBe(true);
  });

  test('is divided among workers, and says that it keeps nothing where the parts are too small', async () => {
    const imageBytes = cachedImageBytes(openCheckpoint(checkpointFolder('narrow-vision')));
    const { model, uses, notices } = await start('narrow-vision', 2 * imageBytes - 1, { workerCount: 2 });
    expect(notices.filter((line) => line.startsWith('BLIP_IMAGE_CACHE_BYTES'))).toEqual([
      `BLIP_IMAGE_CACHE_BYTES has no effect below ${2 * imageBytes}, the bytes of an image of this model in each worker.`,
    ]);
    const request = { img_url: await pictures(1), ...caption };
    for (let turn = 0; turn < 2; turn += 1) await answersOf(model, request, outputs);
    expect(counts(uses)).toEqual([
      [0, 1],
      [0, 1],
    ]);
    expect((await start('narrow-vision', 2 * imageBytes, { workerCount: 2 })).notices).toEqual([]);
  });

  test('keeps nothing larger than its bound', () => {
    const cache = new ImageCache(100);
    cache.keep('a', new Float32Array(25));
    expect([cache.read('a'), cache.bytes]).toEqual([undefined, 0]);
  });
});

/** Plain pictures of these shades. */
const grey = (...shades: readonly number[]) =>
  shades.map((shade) => ({ width: 32, height: 32, data: new Uint8Array(3_072).fill(shade) }));
/** A caption of each picture. */
const rowsFor = (imageCount: number) =>
  Array.from({ length: imageCount }, (_, image) => ({
    image,
    inputIds: [182],
    maxNewTokens: 3,
    minNewTokens: 3,
    seed: 0,
  }));

test('equal pictures of one client in a batch are encoded once; a known one, not at all', async () => {
  const checkpoint = openCheckpoint(checkpointFolder('narrow-vision'));
  const runs = recordRuns('images');
  const session = await loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1, imageCacheBytes: MUCH });
  onTestFinished(() => session.release());
  const batch = { images: grey(7, 7, 90), rows: rowsFor(3), settings: greedySettings };
  const first = await session.runs.generation(batch);
  const second = await session.runs.generation(batch);
  expect(runs).toEqual([2, 0]);
  expect(second.results).toEqual(first.results);
  expect(first.results[0]).toEqual(first.results[1]);
});

test('no client finds the picture of another under a name that reads like its own', () => {
  const pixels = (text: string) => Buffer.from(text);
  const keys = [
    ...[undefined, 'undefined', 'null', '', '[null]'].map((client) => encodingKey(pixels('c'), client)),
    encodingKey(pixels('bc'), 'a'),
    encodingKey(pixels('c'), 'ab'),
  ];
  expect(new Set(keys).size).toBe(keys.length);
});

test('equal pictures of two clients in a batch are two pictures', async () => {
  const checkpoint = openCheckpoint(checkpointFolder('narrow-vision'));
  const runs = recordRuns('images');
  const session = await loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1, imageCacheBytes: MUCH });
  onTestFinished(() => session.release());
  const batch = { images: grey(7, 7), rows: rowsFor(2), settings: greedySettings };
  const uses = [];
  for (const clients of [
    ['one', 'other'],
    ['third', 'one'],
    [undefined, 'null'],
  ])
    uses.push((await session.runs.generation({ ...batch, clients })).imageCache);
  expect(runs).toEqual([2, 1, 2]);
  expect(counts(uses)).toEqual([
    [0, 2],
    [1, 1],
    [0, 2],
  ]);
});

test('the cache is empty after weights were packed, which compute with another rounding', async () => {
  const checkpoint = openCheckpoint(checkpointFolder('answers-float32'));
  const options = { executionProvider: 'cpu', threadCount: 1 } as const;
  const cached = await loadSession(checkpoint, { ...options, imageCacheBytes: MUCH });
  const packed = await loadSession(checkpoint, { ...options, weights: 'packed' });
  onTestFinished(async () => void (await Promise.all([cached.release(), packed.release()])));
  const rows = rowsFor(2).map((row) => ({ ...row, questionIds: [101, 7, 9, 102] }));
  const batch = { images: grey(7, 90), rows, settings: greedySettings };
  const uses = [(await cached.runs.generation(batch)).imageCache];
  await cached.pack();
  for (let turn = 0; turn < 2; turn += 1) {
    const { results, imageCache } = await cached.runs.generation(batch);
    expect(results).toEqual((await packed.runs.generation(batch)).results);
    uses.push(imageCache);
  }
  expect(counts(uses)).toEqual([
    [0, 2],
    [0, 2],
    [2, 0],
  ]);
});

test('candidates that are ranked for the first time after weights were packed are ranked with packed ones', async () => {
  const checkpoint = openCheckpoint(checkpointFolder('answers-float32'));
  const created = vi.spyOn(runtime, 'createSession');
  const session = await loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1, imageCacheBytes: MUCH });
  onTestFinished(() => session.release());
  await session.pack();
  const rows = [{ image: 0, questionIds: [101, 7, 9, 102] }];
  const settings = { candidateIds: [[30, 5, 102]], returnedCount: 1 };
  await session.runs.ranking({ images: grey(7), rows, settings });
  const ofModels = created.mock.calls.filter(([, { keepsThreadsSpinning }]) => keepsThreadsSpinning === true);
  expect(ofModels.map(([, { prepacksWeights }]) => prepacksWeights)).toEqual([false, true, true]);
});

test('rows that go through several runs share the encoding of their image, without a cache too', async () => {
  const checkpoint = openCheckpoint(checkpointFolder('narrow-vision'));
  const runs = recordRuns('images');
  const session = await loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1, maxRunBytes: 0 });
  onTestFinished(() => session.release());
  const rows = [...rowsFor(2), ...rowsFor(2)];
  await session.runs.generation({ images: grey(7, 90), rows, settings: greedySettings });
  expect(runs).toEqual([1, 1, 0, 0]);
});
