import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { runProgram, type ServerProcess, startServerProcess } from '../../support/bundle.ts';
import { freePort } from '../../support/free-port.ts';
import { bytes, dataUri, type HttpAnswer, INFER_PATH, postInference, send } from '../../support/server.ts';
import { imageServerForTest } from '../../support/with-server.ts';

/** The bundled server, started as a process. */

const CONCURRENCY = 64;

const bundle = builtBundle();

const body = JSON.stringify({
  inputs: [bytes('img_url', [dataUri('small')]), bytes('text', ['a picture of'])],
  parameters: { max_new_tokens: 8 },
});

/** Runs `count` tasks, at most `CONCURRENCY` at a time. */
async function inParallel(count: number, task: (index: number) => Promise<void>): Promise<void> {
  const indices = Array.from({ length: count }, (_, index) => index).values();
  const work = async () => {
    for (const index of indices) await task(index);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
}

/** Resident memory of a process, in bytes. */
function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

async function stop(server: ServerProcess): Promise<void> {
  server.kill('SIGTERM');
  await server.exit;
}

test('thousands of requests, 64 at a time, are all answered, and memory stays flat', { timeout: 300_000 }, async () => {
  const server = await startServerProcess(bundle);
  const agent = new http.Agent({ keepAlive: true });
  try {
    const texts = new Set<string>();
    const statuses = new Map<number, number>();
    const ask = async () => {
      const { status, text } = await postInference(server.url, body, { agent });
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      texts.add(text);
    };
    await inParallel(500, ask);
    const residentAfterFirst = residentBytes(server.pid);
    await inParallel(1_500, ask);
    expect(Object.fromEntries(statuses)).toEqual({ 200: 2_000 });
    expect([...texts]).toEqual([expect.stringMatching(/"data":\["a picture of/)]);
    expect(Math.abs(residentBytes(server.pid) - residentAfterFirst)).toBeLessThan(60_000_000);
  } finally {
    agent.destroy();
    await stop(server);
  }
});

describe('a server that is told to stop', () => {
  /** The code of the error of a request that has no answer. */
  const failureCode = (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error);

  test('answers every accepted request whole, then exits with code 0', { timeout: 120_000 }, async () => {
    const server = await startServerProcess(bundle);
    const answers: HttpAnswer[] = [];
    const failures: unknown[] = [];
    await inParallel(200, async () => {
      await postInference(server.url, body).then(
        (answer) => answers.push(answer),
        (error: unknown) => failures.push(failureCode(error)),
      );
      if (answers.length === 40) server.kill('SIGTERM');
    });
    const { exitCode, signal, stderr } = await server.exit;
    expect({ exitCode, signal, stderr }).toEqual({ exitCode: 0, signal: null, stderr: '' });
    // A connection is refused once the listener is closed; no accepted one is reset.
    const counts = Object.fromEntries(
      failures.map((code) => [code, failures.filter((other) => other === code).length]),
    );
    expect({ ECONNREFUSED: 0, ...counts }).toEqual({ ECONNREFUSED: expect.any(Number) });
    expect(answers.length).toBeGreaterThanOrEqual(40 + CONCURRENCY - 1);
    for (const { status, text } of answers) {
      expect({ status, text }).toEqual({ status: 200, text: expect.stringMatching(/^\{"model_name".*\}\]\}$/) });
    }
    const messages = server.log().map(({ msg }) => msg);
    expect(messages.filter((message) => message === 'incoming request')).toHaveLength(answers.length);
    expect(messages).toEqual(expect.arrayContaining(['draining', 'stopped']));
  });

  /** Sends as many requests as may run at once, and waits until the server has them all. */
  async function fill(server: ServerProcess, agent?: http.Agent): Promise<{ readonly answers: Promise<HttpAnswer[]> }> {
    const request = agent === undefined ? {} : { agent };
    const answers = Promise.all(Array.from({ length: CONCURRENCY }, () => postInference(server.url, body, request)));
    answers.catch(() => undefined); // The caller awaits the answers.
    while (server.log().filter(({ msg }) => msg === 'incoming request').length < CONCURRENCY) await sleep(1);
    return { answers };
  }

  test('exits although clients keep their connections open', { timeout: 120_000 }, async () => {
    const server = await startServerProcess(bundle);
    const agent = new http.Agent({ keepAlive: true });
    const { answers } = await fill(server, agent);
    server.kill('SIGTERM');
    for (const { status } of await answers) expect(status).toBe(200);
    const ended = await Promise.race([server.exit, sleep(5_000, 'still running 5 s after the last answer')]);
    agent.destroy();
    await server.exit;
    expect(ended).toMatchObject({ exitCode: 0, signal: null, stderr: '' });
  });

  test('exits although clients send nothing, or half a request; whole requests are answered', async () => {
    const images = await imageServerForTest();
    const server = await startServerProcess(bundle, { BLIP_DRAIN_LIMIT_MS: '500' });
    const { hostname, port } = new URL(server.url);
    const half = `POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{"inputs":[`;
    const idle = ['', 'GET /v2 HTTP/1.1\r\n', half].map((text) => {
      const socket = net.connect(Number(port), hostname).resume();
      socket.on('error', () => undefined); // The server closes the connection.
      socket.write(text);
      return once(socket, 'close');
    });
    const answer = postInference(server.url, { inputs: [bytes('img_url', [`${images.url}/held.png`])] });
    await images.held(1);
    while (server.log().filter(({ msg }) => msg === 'incoming request').length < 2) await sleep(1);
    server.kill('SIGTERM');
    await Promise.all(idle);
    images.release();
    expect(await answer).toMatchObject({ status: 200 });
    expect(await server.exit).toMatchObject({ exitCode: 0, signal: null, stderr: '' });
  });

  test('takes the same signal twice at once for one', { timeout: 120_000 }, async () => {
    const server = await startServerProcess(bundle);
    const { answers } = await fill(server);
    server.kill('SIGTERM');
    await sleep(50);
    server.kill('SIGTERM');
    for (const { status } of await answers) expect(status).toBe(200);
    expect(await server.exit).toMatchObject({ exitCode: 0, signal: null, stderr: '' });
  });

  // Whoever asks twice does not want to wait. Before, a second signal changed nothing, and only SIGKILL helped.
  test.each([
    ['SIGTERM', 'SIGINT', 0],
    ['SIGINT', 'SIGTERM', 50],
    ['SIGINT', 'SIGINT', 400],
  ] as const)('ends at once at a second signal: %s, then %s after %i ms', async (first, second, pauseMs) => {
    const images = await imageServerForTest();
    const server = await startServerProcess(bundle);
    const answer = postInference(server.url, { inputs: [bytes('img_url', [`${images.url}/held.png`])] });
    answer.catch(() => undefined); // The server ends without it.
    await images.held(1);
    server.kill(first);
    await sleep(pauseMs);
    const startMs = performance.now();
    server.kill(second);
    const ended = await server.exit;
    expect(performance.now() - startMs).toBeLessThan(2_000);
    // The kernel hands over two signals that wait in an order of its own.
    const ends = pauseMs === 0 ? [first, second] : [second];
    expect(ends).toContain(ended.signal);
    expect(ended.exitCode).toBeNull();
    images.release();
  });

  test('ends at its limit, whatever still runs', async () => {
    const images = await imageServerForTest();
    const limits = { BLIP_DRAIN_LIMIT_MS: '100', BLIP_STOP_LIMIT_MS: '1000' };
    const server = await startServerProcess(bundle, limits);
    const answer = postInference(server.url, { inputs: [bytes('img_url', [`${images.url}/held.png`])] });
    answer.catch(() => undefined); // The server ends without it.
    await images.held(1);
    const startMs = performance.now();
    server.kill('SIGTERM');
    expect(await server.exit).toMatchObject({ signal: 'SIGTERM' });
    expect(performance.now() - startMs).toBeLessThan(3_000);
    expect(server.log().at(-1)).toMatchObject({ level: 50, msg: 'ended before everything was answered' });
    images.release();
  });

  test('ends although a worker hangs, and is not ready meanwhile', { timeout: 120_000 }, async () => {
    const hook = fileURLToPath(new URL('../../../bench/attacks/hang-in-worker.cjs', import.meta.url));
    const server = await startServerProcess(bundle, {
      NODE_OPTIONS: `--require ${hook}`,
      ATTACKED_PROGRAM: join(bundle.folder, 'dist/serve.js'),
      BLIP_RUN_LIMIT_MS: '4000',
      BLIP_DRAIN_LIMIT_MS: '500',
    });
    expect(await postInference(server.url, body)).toMatchObject({ status: 200 });
    const hung = postInference(server.url, body);
    const ready = async () => (await send(server.url, { path: '/v2/health/ready' })).status;
    expect(await ready()).toBe(200);
    await expect.poll(ready, { timeout: 4_000 }).toBe(503);
    expect(await hung).toMatchObject({ status: 500, text: expect.stringContaining('INTERNAL') });
    await expect.poll(ready, { timeout: 20_000 }).toBe(200); // Another worker took its place.
    const startMs = performance.now();
    server.kill('SIGTERM');
    await server.exit;
    expect(performance.now() - startMs).toBeLessThan(6_000);
  });

  test('exits after clients disconnected in the middle of a request', { timeout: 120_000 }, async () => {
    const server = await startServerProcess(bundle);
    const { hostname, port } = new URL(server.url);
    const head = `POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n`;
    for (const part of [head, `${head}${body.slice(0, 100)}`, `${head}${body}`]) {
      const socket = net.connect(Number(port), hostname);
      socket.on('error', () => undefined); // The server may close first.
      socket.write(part);
      await sleep(50);
      socket.destroy();
    }
    server.kill('SIGTERM');
    const ended = await Promise.race([server.exit, sleep(5_000, 'still running after 5 s')]);
    await server.exit;
    expect(ended).toMatchObject({ exitCode: 0, signal: null, stderr: '' });
  });

  test.each(['ready', 'listening'] as const)('exits with code 0 without requests: while %s', async (until) => {
    const server = await startServerProcess(bundle, {}, until);
    server.kill('SIGINT');
    expect(await server.exit).toMatchObject({ exitCode: 0, signal: null, stderr: '' });
  });
});

describe('the address that the server listens on', () => {
  /** The local addresses of sockets that listen on a port, in the kernel's form: hexadecimal, in its byte order. */
  function listeners(server: ServerProcess, decimal = Number(new URL(server.url).port)): readonly string[] {
    const port = decimal.toString(16).toUpperCase().padStart(4, '0');
    return ['tcp', 'tcp6']
      .flatMap((family) => readFileSync(`/proc/${server.pid}/net/${family}`, 'utf8').split('\n').slice(1))
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local, , state]) => local?.endsWith(`:${port}`) && state === '0A')
      .map(([, local]) => local?.split(':')[0] ?? '');
  }

  test('is loopback only without tokens', async () => {
    const server = await startServerProcess(bundle);
    expect(listeners(server)).toEqual(['0100007F']);
    await stop(server);
  });

  test('is every address with tokens, and HOST narrows it', async () => {
    const everywhere = await startServerProcess(bundle, { BLIP_API_TOKENS: 'secret-token' });
    expect(listeners(everywhere)).toEqual(['00000000']);
    const url = `http://127.0.0.1:${new URL(everywhere.url).port}`;
    expect(await postInference(url, body)).toMatchObject({ status: 401 });
    expect(await send(url, { path: '/v2/health/ready' })).toMatchObject({ status: 200 });
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const headers = { authorization: 'Bearer secret-token', 'x-request-id': 'abc-1', traceparent };
    expect(await postInference(url, body, { headers })).toMatchObject({ status: 200 });
    expect(await send(url, { path: '/v2/models?question=secret-question' })).toMatchObject({ status: 200 });
    const logged = expect.objectContaining({ method: 'GET', url: '/v2/models', remoteAddress: '127.0.0.1' });
    await expect.poll(everywhere.log).toContainEqual(expect.objectContaining({ req: logged }));
    expect(JSON.stringify(everywhere.log())).not.toMatch(/secret-/);
    // The token's digest is the beginning of its SHA-256.
    const named = { tokenDigest: '930bbdc5', reqId: 'abc-1', traceId: 'a'.repeat(32) };
    const completed = expect.objectContaining({ ...named, msg: 'request completed' });
    await expect.poll(everywhere.log).toContainEqual(completed);
    expect((await send(url, { path: '/metrics' })).text).toContain(
      'blip_requests_total{model="captioning",code="ok"} 1',
    );
    await stop(everywhere);
    const narrowed = await startServerProcess(bundle, { BLIP_API_TOKENS: 'secret-token', HOST: '127.0.0.1' });
    expect(listeners(narrowed)).toEqual(['0100007F']);
    await stop(narrowed);
  });

  test('is every address at the port of Vertex AI, which authorizes HTTP requests', async () => {
    const port = await freePort();
    const vertex = { AIP_HTTP_PORT: String(port), PORT: '1', BLIP_GRPC_PORT: '0' };
    const open = await startServerProcess(bundle, { ...vertex, BLIP_VERTEX_AUTHORIZER: 'platform' });
    expect(listeners(open, port)).toEqual(['00000000']);
    const grpcPort = Number(open.log().find(({ msg }) => msg === 'gRPC listening')?.['port']);
    expect(listeners(open, grpcPort)).toEqual(['0100007F']);
    await stop(open);
    const closed = await startServerProcess(bundle, vertex);
    expect(listeners(closed, port)).toEqual(['0100007F']);
    await stop(closed);
  });

  test('is every address where a platform authorizes requests, over gRPC too', async () => {
    const port = await freePort();
    const variables = { BLIP_AUTHORIZER: 'platform', PORT: String(port), BLIP_GRPC_PORT: '0' };
    const server = await startServerProcess(bundle, variables);
    const grpcPort = Number(server.log().find(({ msg }) => msg === 'gRPC listening')?.['port']);
    expect([listeners(server, port), listeners(server, grpcPort)]).toEqual([['00000000'], ['00000000']]);
    const warnings = server.log().filter(({ level }) => level === 40);
    expect(warnings.map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(/^whoever reaches this service may ask: BLIP_AUTHORIZER=platform says/),
    );
    expect((await postInference(server.url, body, { headers: { host: '10.0.0.7:8080' } })).status).toBe(200);
    await stop(server);
  });

  test('is none where Vertex AI authorizes clients that have no token', async () => {
    const variables = { AIP_HTTP_PORT: '0', BLIP_VERTEX_AUTHORIZER: 'platform', BLIP_API_TOKENS: 'secret-token' };
    const { exitCode, stderr } = await runProgram(bundle, 'serve.js', { variables });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stderr)).toEqual({
      error: expect.stringMatching(/BLIP_API_TOKENS.*BLIP_VERTEX_AUTHORIZER.*both/),
      code: 'SETTINGS_INVALID',
    });
  });

  test.each(['0.0.0.0', '::', '192.0.2.1'])('cannot be %s without tokens', async (host) => {
    const { exitCode, stdout, stderr } = await runProgram(bundle, 'serve.js', {
      variables: { PORT: '0', HOST: host },
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(JSON.parse(stderr)).toEqual({
      error:
        `Expected BLIP_API_TOKENS to be set when HOST is not loopback, got none for HOST ${host}. ` +
        'Set them, or BLIP_AUTHORIZER=platform where a platform keeps strangers out.',
      code: 'SETTINGS_INVALID',
    });
  });
});

describe('a server that cannot start', () => {
  test.each([
    ['an invalid setting', { PORT: 'many' }, /PORT/, 'SETTINGS_INVALID'],
    ['a missing checkpoint', { BLIP_CHECKPOINT: '/nowhere/at/all' }, /\/nowhere\/at\/all/, 'CHECKPOINT_NOT_FOUND'],
  ])('exits with code 1 and one line that says why: %s', async (_, variables, message, code) => {
    const { exitCode, stderr } = await runProgram(bundle, 'serve.js', { variables: { PORT: '0', ...variables } });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stderr)).toEqual({ error: expect.stringMatching(message), code });
  });

  test('exits with code 1 where its port is taken', async () => {
    const server = await startServerProcess(bundle);
    const { port } = new URL(server.url);
    const { exitCode, stderr } = await runProgram(bundle, 'serve.js', { variables: { PORT: port } });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stderr)).toEqual({
      error:
        `Expected PORT ${port} to be free at 127.0.0.1, got a port that another process listens on. ` +
        'Set PORT to another one, or to 0 for any free one.',
      code: 'SETTINGS_INVALID',
    });
    await stop(server);
  });
});
