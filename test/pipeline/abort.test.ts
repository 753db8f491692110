import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unlessAborted } from '../../pipeline/abort.ts';
import { loadImage } from '../../pipeline/images/image-source.ts';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { checkpointFolder, imagePath } from '../support/goldens.ts';
import { type ImageServer, startImageServer, testSettings } from '../support/server.ts';

const reason = new Error('dropped');
const chelsea = readFileSync(imagePath('chelsea'));

describe('a promise and a signal', () => {
  test('whichever is first', async () => {
    expect(await unlessAborted(Promise.resolve(1), undefined)).toBe(1);
    expect(await unlessAborted(Promise.resolve(1), new AbortController().signal)).toBe(1);
    await expect(unlessAborted(new Promise(() => undefined), AbortSignal.abort(reason))).rejects.toBe(reason);
    const later = new AbortController();
    const waiting = unlessAborted(new Promise(() => undefined), later.signal);
    later.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  test('a failure of either is not lost, and none is left unhandled', async () => {
    await expect(unlessAborted(Promise.reject(reason), new AbortController().signal)).rejects.toBe(reason);
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error('late')), 5));
    await expect(unlessAborted(late, AbortSignal.abort(reason))).rejects.toBe(reason);
    await new Promise((resolve) => setTimeout(resolve, 20));
  });
});

describe.each([
  ['captioning', 'narrow-vision', {}],
  ['retrieval', 'retrieval-wide-vision', { text: ['a red cat'] }],
  ['clip', 'clip-real-end', {}],
] as const)('a request for %s that is dropped', (_, folder, inputs) => {
  let model: RunningModel;
  let images: ImageServer;
  const settings = () =>
    testSettings({ checkpoint: checkpointFolder(folder), maxQueueSize: 1, imageTimeoutMs: 60_000 });
  beforeAll(async () => {
    images = await startImageServer();
    model = await startModel(settings());
  });
  afterAll(async () => {
    await model?.close();
    await images?.close();
  });
  const outputs: readonly string[] = [];

  test('before it begins costs nothing, and nothing waits for its image', async () => {
    const slow = { img_url: [`${images.url}/held.png`], ...inputs };
    await expect(model.infer({ inputs: slow, outputs, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const dropped = new AbortController();
    const answer = model.infer({ inputs: slow, outputs, signal: dropped.signal });
    const ended = images.held(1).then(() => dropped.abort(reason));
    await expect(answer).rejects.toBe(reason);
    await ended;
    // The one place of the queue is free again, once the fetch has ended.
    await expect
      .poll(() => model.infer({ inputs: { img_url: [chelsea], ...inputs }, outputs }).then(() => true, String))
      .toBe(true);
  });
});

test('fetching an image ends with the reason, not as a failed fetch', async () => {
  const images = await startImageServer();
  const dropped = new AbortController();
  const { imageTimeoutMs: timeoutMs, imageMaxBytes: maxBytes, ...settings } = testSettings();
  const loading = loadImage(`${images.url}/held.png`, {
    timeoutMs,
    maxBytes,
    maxRedirects: 3,
    maxPixels: settings.imageMaxPixels,
    maxSide: settings.imageMaxSide,
    httpsOnly: false,
    allowedHosts: [],
    privateHosts: ['127.0.0.1'],
    applyExif: true,
    signal: dropped.signal,
  });
  void images.held(1).then(() => dropped.abort(reason));
  await expect(loading).rejects.toBe(reason);
  await images.close();
});
