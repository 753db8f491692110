import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import Handler from '../../../../app.ts';
import { createServer } from '../../../../handlers/http/server.ts';
import { checkpointFolder } from '../../../support/goldens.ts';
import { httpResultOf, startFunction } from '../../../support/lambda.ts';
import { functionUrlEvent } from '../../../support/lambda-events.ts';
import {
  bytes,
  dataUri,
  expectError,
  modelSettingsOf,
  outputOf,
  postInference,
  readAnswer,
  send,
  serverTestSettings,
  type TestSettings,
} from '../../../support/server.ts';
import { serverForTest, withImageServerForEach, withServer } from '../../../support/with-server.ts';

/** RunPod's endpoints. */

const checkpoint = checkpointFolder('narrow-vision');
const paths = ['/runsync', '/v2/captioning/runsync', '/v2/captioning/runsync?wait=90000'];
const image = dataUri('chelsea');

const server = withServer({ checkpoint });

function run(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}, url = server.url) {
  return send(url, { method: 'POST', path, headers, body: typeof body === 'string' ? body : JSON.stringify(body) });
}

/** A job. Its answer has status 200 even where it failed. */
async function job(path: string, input: object): Promise<unknown> {
  const answer = await run(path, { input });
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
  return JSON.parse(answer.text);
}

const id = expect.stringMatching(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
const ended = { id, delayTime: expect.any(Number), executionTime: expect.any(Number) };

describe.each(paths)('%s', (path) => {
  test('answers with outputs by name', async () => {
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

  test('refuses a body that is not a job', async () => {
    for (const body of ['{', '', '[]', '{}', '{"input": 5}', '{"input": {}, "webhook": "http://example.com"}'])
      expectError(await run(path, body), 400, 'INVALID_REQUEST');
    for (const policy of [5, { ttl: 0 }, { ttl: 1.5 }, { executionTimeout: 604_800_001 }, { executionTimeout: '1' }])
      expectError(await run(path, { input: { img_url: image }, policy }), 400, 'INVALID_REQUEST');
    expectError(await run(path, { input: { img_url: image, unknown: 1 } }), 400, 'INVALID_INPUT');
    expectError(await run(path, { input: { img_url: image, text: 'dog '.repeat(40) } }), 400, 'PROMPT_TOO_LONG');
    expectError(await send(server.url, { path }), 405, 'METHOD_NOT_ALLOWED');
  });

  test('needs a token', async () => {
    const guarded = await serverForTest({ checkpoint, apiTokens: ['secret'] });
    const body = { input: { img_url: image } };
    expectError(await run(path, body, {}, guarded.url), 401, 'UNAUTHORIZED');
    expect((await run(path, body, { authorization: 'Bearer secret' }, guarded.url)).status).toBe(200);
  });
});

test('another endpoint is not found', async () => {
  expectError(await run('/v2/other/runsync', { input: { img_url: image } }), 404, 'NOT_FOUND');
});

describe('a job that runs in the background', () => {
  const images = withImageServerForEach();
  /** A job that runs until the server of images answers. */
  const held = () => ({ input: { img_url: `${images.url}/held.png` } });
  const quick = { input: { img_url: dataUri('small') } };

  /** An endpoint as one client uses it. Its answers must be JSON with status 200. */
  function client(url: string, token?: string, prefix = '/v2/captioning') {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const ask = (path: string, method = 'GET', body?: object) =>
      send(url, {
        method,
        path: prefix + path,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    const read = async (path: string, method?: string, body?: object) => {
      const answer = await ask(path, method, body);
      expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
      return JSON.parse(answer.text);
    };
    return {
      ask,
      read,
      /** Starts a job. */
      async run(body: object): Promise<string> {
        const begun = await read('/run', 'POST', body);
        expect(begun).toEqual({ id, status: 'IN_QUEUE' });
        return begun.id;
      },
      end: (job: string) => read(`/status-sync/${job}?wait=60000`),
    };
  }

  async function start(changes: Partial<TestSettings> = {}) {
    const started = await serverForTest({ checkpoint, ...changes });
    const queued = () => started.model.model?.queuedItems();
    return { ...started, ...client(started.url), queued };
  }

  test.each(['', '/v2/captioning'])(
    'is accepted at once, and has its output when it has ended (%s)',
    async (prefix) => {
      const { run: begin, read } = client(server.url, undefined, prefix);
      const job = await begin({ input: { img_url: image, max_new_tokens: 3 } });
      await expect
        .poll(() => read(`/status/${job}`), { timeout: 30_000 })
        .toEqual({
          ...ended,
          id: job,
          status: 'COMPLETED',
          output: (await read('/runsync', 'POST', { input: { img_url: image, max_new_tokens: 3 } })).output,
        });
    },
  );

  test('is in progress while its image is fetched, then completed', async () => {
    const { run: begin, read, end } = await start();
    const job = await begin(held());
    await images.held(1);
    expect(await read(`/status/${job}`)).toEqual({ id: job, status: 'IN_QUEUE' });
    expect(await read(`/status-sync/${job}?wait=1`)).toEqual({ id: job, status: 'IN_QUEUE' });
    const ending = end(job);
    images.release();
    const status = await ending;
    expect(status).toMatchObject({ id: job, status: 'COMPLETED' });
    expect(await read(`/status/${job}`)).toEqual(status);
  });

  test('says why it failed, for instance of a prompt that is too long', async () => {
    const { run: begin, end } = client(server.url);
    for (const [input, code] of [
      [{ img_url: 'no base64!' }, 'IMAGE_SOURCE_INVALID'],
      [{ img_url: image, text: 'dog '.repeat(40) }, 'PROMPT_TOO_LONG'],
    ] as const) {
      const error = expect.stringMatching(`^${code}: Expected `);
      expect(await end(await begin({ input }))).toEqual({ ...ended, status: 'FAILED', error });
    }
  });

  test('is dropped when it is cancelled, which frees its place', async () => {
    const { run: begin, read, ask, queued } = await start({ maxQueueSize: 1, maxRequestsPerToken: 1 });
    const job = await begin(held());
    await images.held(1);
    expectError(await ask('/run', 'POST', quick), 429, 'OVERLOADED');
    const cancelled = await read(`/cancel/${job}`, 'POST');
    expect(cancelled).toEqual({ ...ended, id: job, status: 'CANCELLED', executionTime: 0 });
    await expect.poll(queued).toBe(0);
    expect(await read(`/status/${job}`)).toEqual(cancelled);
    expect(await read(`/cancel/${job}`, 'POST', {})).toEqual(cancelled);
    expect(await read('/runsync', 'POST', quick)).toMatchObject({ status: 'COMPLETED' });
  });

  test('belongs to its token and its endpoint', async () => {
    const { url } = await start({ apiTokens: ['one', 'two'] });
    const [one, two] = [client(url, 'one'), client(url, 'two')];
    const job = await one.run(held());
    for (const [path, method] of [
      [`/status/${job}`, 'GET'],
      [`/status-sync/${job}`, 'GET'],
      [`/cancel/${job}`, 'POST'],
    ] as const) {
      expectError(await two.ask(path, method), 404, 'NOT_FOUND');
      expectError(await client(url, 'one', '/v2/other').ask(path, method), 404, 'NOT_FOUND');
      expectError(await client(url).ask(path, method), 401, 'UNAUTHORIZED');
    }
    expect(await two.read('/purge-queue', 'POST')).toEqual({ removed: 0, status: 'completed' });
    expect((await two.read('/health')).jobs).toMatchObject({ inQueue: 0 });
    for (const [path, method] of [
      ['/purge-queue', 'POST'],
      ['/health', 'GET'],
    ] as const)
      expectError(await client(url).ask(path, method), 401, 'UNAUTHORIZED');
    expect(await one.read(`/status/${job}`)).toEqual({ id: job, status: 'IN_QUEUE' });
  });

  test('has a place in the queue until it ends', async () => {
    const { run: begin, ask, end, url } = await start({ maxQueueSize: 2 });
    const jobs = [await begin(held()), await begin(held())];
    const refused = await ask('/run', 'POST', quick);
    expectError(refused, 429, 'OVERLOADED');
    expect(refused.headers['retry-after']).toMatch(/^\d+$/);
    expectError(await postInference(url, { inputs: [bytes('img_url', [image])] }), 429, 'OVERLOADED');
    images.release();
    for (const job of jobs) expect(await end(job)).toMatchObject({ status: 'COMPLETED' });
    expect(await end(await begin(quick))).toMatchObject({ status: 'COMPLETED' });
  });

  test('counts as a request of its token until it ends; requests for its status do not count', async () => {
    const { url } = await start({ apiTokens: ['one', 'two'], maxRequestsPerToken: 1 });
    const [one, two] = [client(url, 'one'), client(url, 'two')];
    const job = await one.run(held());
    await images.held(1);
    expectError(await one.ask('/runsync', 'POST', quick), 429, 'OVERLOADED');
    expect(await two.read('/runsync', 'POST', quick)).toMatchObject({ status: 'COMPLETED' });
    expect(await one.read(`/status/${job}`)).toEqual({ id: job, status: 'IN_QUEUE' });
    images.release();
    expect(await one.end(job)).toMatchObject({ status: 'COMPLETED' });
    expect(await one.read('/runsync', 'POST', quick)).toMatchObject({ status: 'COMPLETED' });
  });

  test('goes on when the wait of runsync is over', async () => {
    const { read, ask, end } = await start({ maxRequestsPerToken: 1 });
    const waited = await read('/runsync?wait=1', 'POST', held());
    expect(waited).toEqual({ id, status: 'IN_QUEUE' });
    expectError(await ask('/runsync', 'POST', quick), 429, 'OVERLOADED');
    images.release();
    expect(await end(waited.id)).toMatchObject({ id: waited.id, status: 'COMPLETED' });
    const known = await read('/runsync', 'POST', quick);
    expect(await read(`/status/${known.id}`)).toEqual(known);
    expectError(await ask('/runsync?wait=soon', 'POST', quick), 400, 'INVALID_REQUEST');
  });

  test('is dropped when the client of runsync disconnects before it has the id', async () => {
    const { url, read, queued } = await start();
    const leaving = http.request(new URL('/v2/captioning/runsync', url), { method: 'POST', agent: false });
    leaving.on('error', () => undefined);
    leaving.end(JSON.stringify(held()));
    await images.held(1);
    expect((await read('/health')).jobs).toMatchObject({ inQueue: 1 });
    leaving.destroy();
    await expect.poll(queued).toBe(0);
    expect((await read('/health')).jobs).toMatchObject({ inQueue: 0 });
  });

  test('ends when the time of its policy or of the service is over', async () => {
    const timedOut = { ...ended, status: 'TIMED_OUT', error: expect.stringMatching(/^DEADLINE_EXCEEDED: .* 20 ms/) };
    const { run: begin, end } = await start();
    expect(await end(await begin({ ...held(), policy: { ttl: 20 } }))).toEqual(timedOut);
    const hurried = await start({ requestTimeoutMs: 20 });
    expect(await hurried.end(await hurried.run({ ...held(), policy: { lowPriority: true, ttl: null } }))).toEqual(
      timedOut,
    );
  });

  test("is purged while it waits; the endpoint's health counts all jobs", async () => {
    const { run: begin, read, end, queued } = await start();
    await end(await begin(quick));
    await end(await begin({ input: { img_url: 'no base64!' } }));
    const jobs = [await begin(held()), await begin(held())];
    await images.held(2);
    const counts = { completed: 1, failed: 1, inProgress: 0, inQueue: 2, retried: 0 };
    const workers = { idle: 0, initializing: 0, ready: 1, running: 1, throttled: 0 };
    expect(await read('/health')).toEqual({ jobs: counts, workers });
    expect(await read('/purge-queue', 'POST')).toEqual({ removed: 2, status: 'completed' });
    for (const job of jobs) expect(await read(`/status/${job}`)).toMatchObject({ status: 'CANCELLED' });
    await expect.poll(queued).toBe(0);
    expect(await read('/health')).toEqual({
      jobs: { ...counts, inQueue: 0 },
      workers: { ...workers, idle: 1, running: 0 },
    });
  });

  test('is refused where it is malformed or too large', async () => {
    const { ask } = client(server.url);
    for (const body of [{}, { input: 5 }, { ...quick, webhook: 'http://a' }, { ...quick, webhookV2: 'http://a' }])
      expectError(await ask('/run', 'POST', body), 400, 'INVALID_REQUEST');
    expectError(await ask('/run', 'POST', { input: {} }), 400, 'INVALID_INPUT');
    expectError(await ask('/run', 'POST', { input: { img_url: 'A'.repeat(11_000_000) } }), 413, 'PAYLOAD_TOO_LARGE');
    expectError(await ask('/cancel/none', 'POST', { text: 'x'.repeat(2_000) }), 413, 'PAYLOAD_TOO_LARGE');
    expectError(await ask('/cancel/none', 'POST'), 404, 'NOT_FOUND');
    expectError(await ask('/run'), 405, 'METHOD_NOT_ALLOWED');
  });

  test('is refused where nothing runs between requests', async () => {
    const served = startFunction();
    onTestFinished(() => served.close());
    const post = async (path: string, query = '') =>
      httpResultOf(await served.invoke(functionUrlEvent({ method: 'POST', path, query, body: quick })));
    expect(await post('/run')).toMatchObject({ statusCode: 404, body: expect.stringContaining('/runsync') });
    expect(JSON.parse((await post('/runsync', 'wait=0')).body)).toMatchObject({ status: 'COMPLETED' });
  });

  describe('while the server drains', () => {
    async function drainable() {
      const settings = serverTestSettings({ checkpoint });
      const model = new Handler(modelSettingsOf(settings));
      const drainableServer = createServer([model], settings);
      const url = await drainableServer.listen({ host: '127.0.0.1', port: 0 });
      await model.initialize();
      onTestFinished(async () => {
        await drainableServer.close();
        await model.finalize();
      });
      return { ...client(url), drain: (limitMs: number) => drainableServer.draining.drain(limitMs), model };
    }

    test('is finished and its status can be read; new jobs are refused', async () => {
      const { drain, run: begin, ask, read, model } = await drainable();
      const job = await begin(held());
      await images.held(1);
      const drained = drain(60_000);
      expectError(await ask('/run', 'POST', quick), 503, 'NOT_READY');
      expect(await read(`/status/${job}`)).toEqual({ id: job, status: 'IN_QUEUE' });
      images.release();
      await expect.poll(() => model.model?.queuedItems()).toBe(0);
      await sleep(500); // A server without jobs would have stopped by now.
      expect(await read(`/status/${job}`)).toMatchObject({ status: 'COMPLETED' });
      await drained;
    });

    test('is dropped when its status can be read no more, but not while its client waits', async () => {
      const { drain, run: begin, read, model } = await drainable();
      const awaited = read('/runsync', 'POST', held());
      await begin(held());
      await images.held(2);
      const drained = drain(0);
      await expect.poll(() => model.model?.queuedItems()).toBe(1);
      images.release();
      expect(await awaited).toMatchObject({ status: 'COMPLETED' });
      await drained;
    });
  });
});

test.each([
  ['/v2/models/captioning', 200],
  ['/v2/models/captioning/ready', 200],
  ['/v2/models/health', 404],
  ['/v2/models/status/ready', 404],
  ['/v2/models/run', 404],
  ['/v2/health/live', 200],
  ['/v2/health/ready', 200],
])('the path %s belongs to the Open Inference Protocol', async (path, status) => {
  const answer = await send(server.url, { path });
  expect(answer.status).toBe(status);
  if (status === 404) expect(JSON.parse(answer.text).error).toMatch(/model/);
});
