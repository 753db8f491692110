import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import sharp from 'sharp';
import { expect, onTestFinished, test } from 'vitest';
import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { loadSession } from '../../pipeline/sessions/load-session.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { valuesOf } from '../support/answers.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { greedySettings } from '../support/greedy-settings.ts';
import { testSettings } from '../support/server.ts';
import { recordRuns } from '../support/session-runs.ts';

/** The images of one request go into one batch, and a batch into one run of the graph. */

/** Pictures of noise, so that each takes a time to decode. */
async function pictures(count: number, side = 700): Promise<readonly string[]> {
  const noise = { type: 'gaussian', mean: 120, sigma: 40 } as const;
  const create = { width: side, height: side, channels: 3, background: 'grey', noise } as const;
  const made = Array.from({ length: count }, () => sharp({ create }).png().toBuffer());
  return (await Promise.all(made)).map((picture) => picture.toString('base64'));
}

async function start(name: Parameters<typeof checkpointFolder>[0], changes: Partial<Settings> = {}) {
  const batches: number[] = [];
  const model: RunningModel = await startModel(testSettings({ checkpoint: checkpointFolder(name), ...changes }), {
    batchDone: (itemCount) => void batches.push(itemCount),
  });
  onTestFinished(() => model.close());
  return { model, batches };
}

const captionOf = { max_new_tokens: [3], min_new_tokens: [3] };

test.each([
  ['captions', 'narrow-vision', captionOf, 8],
  ['answers', 'answers-float32', { question: ['what is it'], ...captionOf }, 8],
  ['ranked answers', 'answers-float32', { question: ['what is it'], candidates: ['a', 'b'] }, 8],
  ['matches', 'retrieval-wide-vision', { text: ['a cat'] }, 9],
  ['embeddings', 'clip-real-end', {}, 8],
] as const)('eight images in one request are one batch: %s', async (_, checkpoint, inputs, itemCount) => {
  const { model, batches } = await start(checkpoint);
  const images = await pictures(8);
  for (let request = 0; request < 2; request += 1) await model.infer({ inputs: { img_url: images, ...inputs } });
  expect(batches).toEqual([itemCount, itemCount]);
});

test('eight images go into three batches of at most three', async () => {
  const { model, batches } = await start('narrow-vision', { maxBatchSize: 3 });
  await model.infer({ inputs: { img_url: await pictures(8), ...captionOf } });
  expect(batches).toEqual([3, 3, 2]);
});

test('a batch of eight images is one run of the graph: captions', async () => {
  const checkpoint = openCheckpoint(checkpointFolder('narrow-vision'));
  const runs = recordRuns('images');
  const session = await loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1 });
  onTestFinished(() => session.release());
  const images = [1, 2, 3, 4, 5, 6, 7, 8].map((grey) => ({
    width: 32,
    height: 32,
    data: new Uint8Array(3072).fill(grey),
  }));
  const rows = images.map((_, image) => ({ image, inputIds: [182], maxNewTokens: 3, minNewTokens: 3, seed: 0 }));
  await session.runs.generation({ images, rows, settings: greedySettings });
  expect(runs).toEqual([8]);
});

test('a batch of eight images is one run of the graph: pairs, and embeddings', async () => {
  const texts = [[2, 5, 3]];
  for (const name of ['retrieval-wide-vision', 'clip-real-end'] as const) {
    const checkpoint = openCheckpoint(checkpointFolder(name));
    const runs = recordRuns('images');
    const session = await loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1 });
    onTestFinished(() => session.release());
    const images = [1, 2, 3, 4, 5, 6, 7, 8].map((grey) => ({
      width: 64,
      height: 64,
      data: new Uint8Array(64 * 64 * 3).fill(grey),
    }));
    if (checkpoint.task === 'clip') await session.runs.clip({ images, texts: [], itemsPerRun: 8 });
    else await session.runs.retrieval({ images, texts, comparedImages: 8, imagesPerRun: 8 });
    expect(runs).toEqual([8]);
  }
});

test('seven images do not wait for one whose host never answers', async () => {
  const host = createServer(() => undefined); // It keeps the connection and says nothing.
  await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    host.closeAllConnections();
    host.close();
  });
  const url = `http://127.0.0.1:${(host.address() as AddressInfo).port}/dead.png`;
  const { model, batches } = await start('narrow-vision', { imagePrivateHosts: ['*'], imageTimeoutMs: 5_000 });
  await model.infer({ inputs: { img_url: await pictures(1), ...captionOf } });
  const images = await pictures(7, 100);
  const startMs = performance.now();
  const answering = model.infer({
    inputs: { img_url: [...images.slice(0, 3), url, ...images.slice(3)], ...captionOf },
  });
  await expect.poll(() => batches, { timeout: 4_000, interval: 5 }).toEqual([1, 7]);
  expect(performance.now() - startMs).toBeLessThan(4_000);
  expect(valuesOf(await answering, 'error').filter((error) => error !== '')).toHaveLength(1);
});
