import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { HandlerError } from '../../../../protocol/errors.ts';
import { checkpointFolder } from '../../../support/goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  INFER_PATH,
  postInference,
  readAnswer,
  type TestSettings,
} from '../../../support/server.ts';
import { serverForTest, withImageServerForEach, withServer } from '../../../support/with-server.ts';

/** The number of requests of one token that may run at the same time. */

const images = withImageServerForEach();

const quick = { inputs: [bytes('img_url', [dataUri('small')])] };
/** Runs until the server of images answers. */
const held = () => ({ inputs: [bytes('img_url', [`${images.url}/held.png`])] });

async function start(changes: Partial<TestSettings>) {
  const server = await serverForTest({ maxRequestsPerToken: 2, ...changes });
  const ask = (body: object | string, token?: string) =>
    postInference(server.url, body, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
  return { ...server, ask };
}

const tokens = { apiTokens: ['one', 'two'] };

test('a token with its number of running requests is refused another one; other tokens are not', async () => {
  const { ask } = await start(tokens);
  const running = [ask(held(), 'one'), ask(held(), 'one')];
  await images.held(2);
  const refused = await ask(quick, 'one');
  const { error } = expectError(refused, 429, 'OVERLOADED');
  expect(error).toContain('at most 2 requests');
  expect(refused.headers['retry-after']).toMatch(/^\d+$/);
  readAnswer(await ask(quick, 'two'));
  images.release();
  for (const answer of await Promise.all(running)) readAnswer(answer);
  readAnswer(await ask(quick, 'one'));
});

test('without tokens, all requests count together', async () => {
  const { ask } = await start({});
  const running = [ask(held()), ask(held(), 'anything')];
  await images.held(2);
  expectError(await ask(quick, 'something else'), 429, 'OVERLOADED');
  images.release();
  for (const answer of await Promise.all(running)) readAnswer(answer);
});

test('there is no limit without the setting', async () => {
  const { ask } = await start({ maxRequestsPerToken: undefined });
  const running = Array.from({ length: 20 }, () => ask(held()));
  await images.held(20);
  readAnswer(await ask(quick));
  images.release();
  for (const answer of await Promise.all(running)) readAnswer(answer);
});

test('a full queue refuses a request before its body is read, and the refusal is counted', async () => {
  const { ask, url, model } = await start({ maxQueueSize: 1, maxRequestsPerToken: undefined });
  const codes: string[] = [];
  model.observe({ done: (outcome) => void codes.push(outcome instanceof HandlerError ? outcome.code : 'ok') });
  const running = ask(held());
  await images.held(1);
  const request = http.request(`${url}${INFER_PATH}`, { method: 'POST', headers: { 'content-length': '1000' } });
  request.on('error', () => undefined); // It is destroyed below.
  request.write('{');
  const [answer] = await once(request, 'response');
  expect([answer.statusCode, codes]).toEqual([429, ['OVERLOADED']]);
  request.destroy();
  images.release();
  readAnswer(await running);
});

test('requests one after the other are not refused', async () => {
  const { ask } = await start({ ...tokens, maxRequestsPerToken: 1 });
  for (let count = 0; count < 20; count += 1) readAnswer(await ask(quick, 'one'));
});

describe('a request that ends without an answer of the model', () => {
  test('counts no more: a refused body, too many items, an unknown model', async () => {
    const { ask, url } = await start({ ...tokens, maxBodyBytes: 100_000 });
    const headers = { authorization: 'Bearer one' };
    for (let count = 0; count < 4; count += 1) {
      expectError(await ask('x'.repeat(200_000), 'one'), 413, 'PAYLOAD_TOO_LARGE');
      expectError(await ask('no JSON', 'one'), 400, 'INVALID_REQUEST');
      expectError(await ask({ inputs: [bytes('img_url', ['####'])] }, 'one'), 400, 'IMAGE_SOURCE_INVALID');
      expectError(await postInference(url, quick, { headers, path: '/v2/models/other/infer' }), 404, 'NOT_FOUND');
      expectError(await ask(quick, 'unknown'), 401, 'UNAUTHORIZED');
      const encoded = { ...headers, 'content-encoding': 'br' };
      expectError(await postInference(url, quick, { headers: encoded }), 415, 'UNSUPPORTED_ENCODING');
    }
    readAnswer(await ask(quick, 'one'));
  });

  test('counts no more when its computation fails, although the client keeps the connection', async () => {
    const { ask, url } = await start({ maxRequestsPerToken: 1 });
    const { hostname, port } = new URL(url);
    const socket = net.connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    onTestFinished(() => void socket.destroy());
    socket.write(`POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n`);
    await expect.poll(async () => (await ask(quick)).status).toBe(429);
    socket.write('no chunk\r\n');
    const [answer] = await once(socket, 'data');
    expect(String(answer)).toMatch(/^HTTP\/1\.1 400 /);
    await expect.poll(async () => (await ask(quick)).status, { timeout: 30_000 }).toBe(200);
  });

  test('counts no more when its client disconnects before the body is whole', async () => {
    const { ask, url } = await start({ maxRequestsPerToken: 1 });
    const { hostname, port } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    socket.write(`POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{"inputs"`);
    await expect.poll(async () => (await ask(quick)).status).toBe(429);
    socket.destroy();
    await expect.poll(async () => (await ask(quick)).status).toBe(200);
  });
});

test('a client that disconnects frees a place: its request is dropped', async () => {
  const { ask, url } = await start({ maxRequestsPerToken: 1 });
  const leaving = http.request(new URL(INFER_PATH, url), { method: 'POST', agent: false });
  const hungUp = new Promise((resolve) => leaving.on('error', resolve));
  leaving.end(JSON.stringify(held()));
  await images.held(1);
  expectError(await ask(quick), 429, 'OVERLOADED');
  leaving.destroy();
  await hungUp;
  await expect.poll(async () => (await ask(quick)).status).toBe(200);
});

describe('the routes of CLIP-API-service', () => {
  const server = withServer({ checkpoint: checkpointFolder('clip-placeholder-end'), maxRequestsPerToken: 1 });

  test.each([
    ['/encode', () => [{ img_uri: `${images.url}/held.png` }]],
    ['/rank', () => ({ queries: [{ img_uri: `${images.url}/held.png` }], candidates: [{ text: 'a cat' }] })],
  ])('requests to %s count as well', async (path, body) => {
    const running = postInference(server.url, body(), { path });
    await images.held(1);
    expectError(await postInference(server.url, [{ text: 'a cat' }], { path: '/encode' }), 429, 'OVERLOADED');
    images.release();
    expect(await running).toMatchObject({ status: 200 });
    expect(await postInference(server.url, [{ text: 'a cat' }], { path: '/encode' })).toMatchObject({ status: 200 });
  });
});
