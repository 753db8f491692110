import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkpointFolder } from '../../support/goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  outputOf,
  postInference,
  type RunningServer,
  readAnswer,
  send,
  startServer,
} from '../../support/server.ts';

/** RunPod's runsync. */

const checkpoint = checkpointFolder('narrow-vision');
const paths = ['/runsync', '/v2/captioning/runsync', '/v2/captioning/runsync?wait=90000'];
const image = dataUri('chelsea');

let server: RunningServer;

beforeAll(async () => {
  server = await startServer({ checkpoint });
});

afterAll(async () => {
  await server?.close();
});

function run(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}, url = server.url) {
  return send(url, { method: 'POST', path, headers, body: typeof body === 'string' ? body : JSON.stringify(body) });
}

/** A job, which is an answer with status 200 also where it failed. */
async function job(path: string, input: object): Promise<unknown> {
  const answer = await run(path, { input });
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
  return JSON.parse(answer.text);
}

const ended = { id: expect.stringMatching(/\S/), delayTime: 0, executionTime: expect.any(Number) };

describe.each(paths)('%s', (path) => {
  test('gives outputs by name', async () => {
    const parameters = { max_new_tokens: 3 };
    const answer = await postInference(server.url, { inputs: [bytes('img_url', [image])], parameters });
    const caption = outputOf(readAnswer(answer), 'generated_output').data[0];
    expect(await job(path, { img_url: image, ...parameters })).toEqual({
      ...ended,
      status: 'COMPLETED',
      output: { generated_output: caption },
    });
  });

  test('says why a job failed', async () => {
    const error = expect.stringMatching(/^IMAGE_SOURCE_INVALID: Expected /);
    expect(await job(path, { img_url: 'no base64!' })).toEqual({ ...ended, status: 'FAILED', error });
  });

  test('refuses what is no job', async () => {
    for (const body of ['{', '', '[]', '{}', '{"input": 5}', '{"input": {}, "webhook": "http://example.com"}'])
      expectError(await run(path, body), 400, 'INVALID_REQUEST');
    expectError(await run(path, { input: { img_url: image, unknown: 1 } }), 400, 'INVALID_INPUT');
    expectError(await run(path, { input: { img_url: image, text: 'dog '.repeat(40) } }), 400, 'PROMPT_TOO_LONG');
    expectError(await send(server.url, { path }), 405, 'METHOD_NOT_ALLOWED');
  });

  test('wants a token', async () => {
    const guarded = await startServer({ checkpoint, apiTokens: ['secret'] });
    try {
      const body = { input: { img_url: image } };
      expectError(await run(path, body, {}, guarded.url), 401, 'UNAUTHORIZED');
      expect((await run(path, body, { authorization: 'Bearer secret' }, guarded.url)).status).toBe(200);
    } finally {
      await guarded.close();
    }
  });
});

test('another endpoint is none', async () => {
  expectError(await run('/v2/other/runsync', { input: { img_url: image } }), 404, 'NOT_FOUND');
});
