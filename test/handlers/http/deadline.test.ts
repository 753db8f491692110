import http from 'node:http';
import { describe, expect, test } from 'vitest';
import { bytes, dataUri, expectError, INFER_PATH, postInference, readAnswer, send } from '../../support/server.ts';
import { imageServerForTest, serverForTest, withImageServer } from '../../support/with-server.ts';

const images = withImageServer();

const held = (parameters: object = {}) => ({ inputs: [bytes('img_url', [`${images.url}/held.png`])], parameters });
const quick = { inputs: [bytes('img_url', [dataUri('chelsea')])] };

describe('a request with a timeout', () => {
  test('is answered with 504 when its time is over, and frees its place in the queue', async () => {
    const server = await serverForTest({ maxQueueSize: 1 });
    const startMs = performance.now();
    expectError(await postInference(server.url, held({ timeout: 50_000 })), 504, 'DEADLINE_EXCEEDED');
    expect(performance.now() - startMs).toBeLessThan(5_000);
    await expect.poll(async () => (await postInference(server.url, quick)).status).toBe(200);
    const path = '/v2/models/captioning/generate';
    const body = { img_url: `${images.url}/held.png`, parameters: { timeout: 50_000 } };
    expectError(await postInference(server.url, body, { path }), 504, 'DEADLINE_EXCEEDED');
  });

  test('is answered before its time is over', async () => {
    const server = await serverForTest();
    readAnswer(await postInference(server.url, { ...quick, parameters: { timeout: 60_000_000 } }));
    readAnswer(await postInference(server.url, { ...quick, parameters: { timeout: 0 } }));
  });

  test.each([-1, 1.5, '1000', true, 1e300])('is refused with the timeout %s', async (timeout) => {
    const server = await serverForTest();
    expectError(await postInference(server.url, { ...quick, parameters: { timeout } }), 400, 'INVALID_PARAMETER');
  });
});

test('the service may limit the time of every request; a request may set a shorter limit, not a longer one', async () => {
  const server = await serverForTest({ requestTimeoutMs: 100 });
  expectError(await postInference(server.url, held()), 504, 'DEADLINE_EXCEEDED');
  const { error } = expectError(await postInference(server.url, held({ timeout: 20_000 })), 504, 'DEADLINE_EXCEEDED');
  expect(error).toContain('20 ms');
  expectError(await postInference(server.url, held({ timeout: 60_000_000 })), 504, 'DEADLINE_EXCEEDED');
});

test('a request is dropped when its client disconnects, which frees its place', async () => {
  const pictures = await imageServerForTest();
  const server = await serverForTest({ maxQueueSize: 1 });
  const leaving = http.request(new URL(INFER_PATH, server.url), { method: 'POST', agent: false });
  const left = new Promise((resolve) => leaving.on('error', resolve));
  leaving.end(JSON.stringify({ inputs: [bytes('img_url', [`${pictures.url}/held.png`])] }));
  await pictures.held(1);
  expectError(await postInference(server.url, quick), 429, 'OVERLOADED');
  leaving.destroy();
  await left;
  await expect.poll(async () => (await postInference(server.url, quick)).status).toBe(200);
  expect((await send(server.url, { path: '/v2/health/live' })).status).toBe(200);
});
