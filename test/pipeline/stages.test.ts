import { expect, onTestFinished, test } from 'vitest';
import Handler from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import type { Stage } from '../../pipeline/stages.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { dataUri, startImageServer, testSettings } from '../support/server.ts';

/** The events of a request's stages, for every task. */

async function start(checkpoint: Parameters<typeof checkpointFolder>[0], changes: Partial<Settings> = {}) {
  const model = new Handler(testSettings({ checkpoint: checkpointFolder(checkpoint), ...changes }));
  const images = await startImageServer();
  onTestFinished(async () => {
    await images.close();
    await model.finalize();
  });
  await model.initialize();
  const stages: Stage[] = [];
  const ask = (inputs: object, signal?: AbortSignal) =>
    model.inferTensors({ inputs, signal, events: { stage: (stage) => stages.push(stage) } });
  return { ask, images, stages };
}

const inOrder = ['queue', 'fetch', 'inspect', 'queue', 'decode', 'queue', 'run'];

test.each([
  ['narrow-vision', { text: ['a', 'a picture'] }, 2],
  ['answers-float32', { question: ['what is this?', 'who?'] }, 2],
  ['retrieval-wide-vision', { text: ['a cat', 'a dog'] }, 3],
  ['clip-real-end', { text: ['a cat', 'a dog'] }, 3],
] as const)('the stages of %s follow one another', async (checkpoint, texts, itemCount) => {
  const { ask, images, stages } = await start(checkpoint);
  const startMs = performance.now();
  await ask({ img_url: `${images.url}/chelsea.png`, ...texts });
  expect(stages.map(({ name }) => name)).toEqual(inOrder);
  expect(stages.flatMap(({ itemCount: count }) => count ?? [])).toEqual([itemCount]);
  expect(stages.every(({ error }) => error === undefined)).toBe(true);
  const times = [startMs, ...stages.flatMap((stage) => [stage.startMs, stage.endMs]), performance.now()];
  expect(times).toEqual([...times].sort((one, other) => one - other));
});

test('a batch has the items of all requests in it', async () => {
  const { ask, stages } = await start('narrow-vision', { maxBatchSize: 3, batchWindowMs: 60_000 });
  await Promise.all(['a', 'b', 'c'].map((text) => ask({ img_url: dataUri('small'), text })));
  expect(stages.filter(({ name }) => name === 'run').map(({ itemCount }) => itemCount)).toEqual([3, 3, 3]);
});

test.each([
  ['/nothing.png', 'fetch', 'IMAGE_FETCH_FAILED'],
  ['/page.html', 'inspect', 'IMAGE_UNSUPPORTED'],
])('the last stage of a request for %s has its error', async (path, name, code) => {
  const { ask, images, stages } = await start('narrow-vision');
  await expect(ask({ img_url: `${images.url}${path}` })).rejects.toMatchObject({ code });
  expect(stages.at(-1)).toMatchObject({ name, error: { code } });
});

test('a request that is dropped ends with the stage that it was in', async () => {
  const { ask, images, stages } = await start('narrow-vision');
  const stopping = new AbortController();
  const answer = ask({ img_url: `${images.url}/held.png` }, stopping.signal);
  await images.held(1);
  stopping.abort(new HandlerError('CANCELLED', 'Expected nothing any more.'));
  await expect(answer).rejects.toMatchObject({ code: 'CANCELLED' });
  await expect.poll(() => stages.at(-1)).toMatchObject({ name: 'fetch', error: { code: 'CANCELLED' } });
});
