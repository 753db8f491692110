import { expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { runProgram, startServerProcess } from '../../support/bundle.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { bytes, dataUri, postInference, readAnswer, send } from '../../support/server.ts';

/** One process that serves several models: one of each task. */

const bundle = builtBundle();
const captions = `captions=${checkpointFolder('narrow-vision')}`;
const models = [
  captions,
  `answers=${checkpointFolder('answers-float32')}`,
  `matches=${checkpointFolder('retrieval-wide-vision')}`,
  `clip-b.32=${checkpointFolder('clip-placeholder-end')}`,
].join(',');

const image = bytes('img_url', [dataUri('chelsea')]);
const requests = {
  captions: { inputs: [image, bytes('text', ['a picture of'])] },
  answers: { inputs: [image, bytes('question', ['is the cat black?'])] },
  matches: { inputs: [image, bytes('text', ['a cat'])] },
  'clip-b.32': { inputs: [image, bytes('text', ['a cat'])] },
};

test('serves the models of BLIP_MODELS, logs each one that is ready, and ends all on SIGTERM', async () => {
  const server = await startServerProcess(bundle, { BLIP_MODELS: models, BLIP_MODEL_NAME: 'unused' });
  for (const [name, body] of Object.entries(requests))
    readAnswer(await postInference(server.url, body, { path: `/v2/models/${name}/infer` }));
  const { text } = await send(server.url, { path: '/v2/models' });
  expect(JSON.parse(text)).toEqual({ models: Object.keys(requests) });
  const ready = server.log().filter(({ msg }) => msg === 'ready');
  expect(ready.map(({ model, architecture }) => [model, architecture])).toEqual([
    ['captions', 'BlipForConditionalGeneration'],
    ['answers', 'BlipForQuestionAnswering'],
    ['matches', 'BlipForImageTextRetrieval'],
    ['clip-b.32', 'CLIPModel'],
  ]);
  server.kill('SIGTERM');
  expect(await server.exit).toMatchObject({ exitCode: 0, stderr: '' });
});

test('does not start where one of its checkpoints cannot be loaded', async () => {
  const variables = { BLIP_MODELS: `${captions},gone=/nowhere/at/all`, PORT: '0' };
  const { exitCode, stderr } = await runProgram(bundle, 'serve.js', { variables });
  expect(exitCode).toBe(1);
  expect(JSON.parse(stderr)).toEqual({
    error: expect.stringContaining('/nowhere/at/all'),
    code: 'CHECKPOINT_NOT_FOUND',
  });
});
