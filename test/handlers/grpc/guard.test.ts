import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { compressionAlgorithms } from '@grpc/grpc-js';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import InferlessModel from '../../../app.ts';
import type { Log } from '../../../handlers/grpc/log.ts';
import { startGrpcServer } from '../../../handlers/grpc/server.ts';
import { createServer } from '../../../handlers/http/server.ts';
import { createAdmission } from '../../../handlers/service/admission.ts';
import { createMetrics } from '../../../handlers/service/metrics.ts';
import type { Settings } from '../../../pipeline/settings.ts';
import {
  expectStatus,
  grpcClient,
  HEALTH,
  messageFrame,
  openRaw,
  type RunningDoors,
  silentLog,
  startDoors,
  typedBytes,
} from '../../support/grpc.ts';
import {
  bytes,
  dataUri,
  expectError,
  type ImageServer,
  postInference,
  readAnswer,
  startImageServer,
  testSettings,
} from '../../support/server.ts';

/** For machines that are busy. */
const PATIENCE = { timeout: 10_000 };

let images: ImageServer;
beforeEach(async () => {
  images = await startImageServer();
  return () => images.close();
});

async function start(changes: Partial<Settings> = {}): Promise<RunningDoors> {
  const doors = await startDoors(changes);
  onTestFinished(() => doors.close());
  return doors;
}

const requestFor = (image: string) => ({ model_name: 'captioning', inputs: [typedBytes('img_url', [image])] });
const quick = requestFor(dataUri('small'));
/** Runs until the server of images answers. */
const held = () => requestFor(`${images.url}/held.png`);
const bearer = (token: string) => ({ metadata: { authorization: `Bearer ${token}` } });

describe('tokens', () => {
  test('inference wants one that is known; health and metadata are open', async () => {
    const { client } = await start({ apiTokens: ['one', 'two'] });
    for (const options of [{}, bearer('three'), { metadata: { authorization: 'one' } }]) {
      const message = await expectStatus(client.call('ModelInfer', quick, options), 'UNAUTHENTICATED', 'UNAUTHORIZED');
      expect(message).not.toMatch(/one\b.*two|three/);
    }
    await client.call('ModelInfer', quick, bearer('two'));
    for (const method of ['ServerLive', 'ServerReady', 'ServerMetadata', 'RepositoryIndex']) await client.call(method);
    for (const method of ['ModelReady', 'ModelMetadata']) await client.call(method, { name: 'captioning' });
  });

  test('a token has as many requests running as it may; no other token is refused for it', async () => {
    const { client } = await start({ apiTokens: ['one', 'two'], maxRequestsPerToken: 2 });
    const running = [
      client.call('ModelInfer', held(), bearer('one')),
      client.call('ModelInfer', held(), bearer('one')),
    ];
    await images.held(2);
    const refused = client.call('ModelInfer', quick, bearer('one'));
    expect(await expectStatus(refused, 'RESOURCE_EXHAUSTED', 'OVERLOADED')).toContain('at most 2 requests');
    await client.call('ModelInfer', quick, bearer('two'));
    images.release();
    await Promise.all(running);
    await client.call('ModelInfer', quick, bearer('one'));
  });

  test('the limit holds over both doors of a process', async () => {
    const settings = testSettings({ maxRequestsPerToken: 1 });
    const model = new InferlessModel(settings);
    await model.initialize();
    const admission = createAdmission(settings);
    const http = createServer([model], settings, admission);
    const url = await http.listen({ host: '127.0.0.1', port: 0 });
    const options = { models: [model], settings: { ...settings, grpcPort: 0 }, host: '127.0.0.1', log: silentLog };
    const grpc = await startGrpcServer({ ...options, admission });
    const client = grpcClient(grpc.port);
    onTestFinished(async () => {
      client.close();
      grpc.close();
      await http.close();
      await model.finalize();
    });
    const overHttp = postInference(url, { inputs: [bytes('img_url', [`${images.url}/held.png`])] });
    await images.held(1);
    await expectStatus(client.call('ModelInfer', quick), 'RESOURCE_EXHAUSTED', 'OVERLOADED');
    images.release();
    readAnswer(await overHttp);
    await client.call('ModelInfer', quick);

    images = await startImageServer();
    const overGrpc = client.call('ModelInfer', held());
    await images.held(1);
    expectError(await postInference(url, { inputs: [bytes('img_url', [dataUri('small')])] }), 429, 'OVERLOADED');
    images.release();
    await overGrpc;
    readAnswer(await postInference(url, { inputs: [bytes('img_url', [dataUri('small')])] }));
  });

  test('what is refused counts no more', async () => {
    const { client } = await start({ apiTokens: ['one'], maxRequestsPerToken: 1, maxBodyBytes: 100_000 });
    for (let count = 0; count < 3; count += 1) {
      const large = { ...quick, raw_input_contents: [Buffer.alloc(200_000)] };
      await expectStatus(client.call('ModelInfer', large, bearer('one')), 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE');
      await expectStatus(client.call('ModelInfer', {}, bearer('one')), 'NOT_FOUND', 'NOT_FOUND');
      await expectStatus(client.call('ModelInfer', quick), 'UNAUTHENTICATED', 'UNAUTHORIZED');
    }
    await client.call('ModelInfer', quick, bearer('one'));
  });
});

describe('messages', () => {
  test('beyond the limit of a body are refused; those within are not', async () => {
    const { client } = await start({ maxBodyBytes: 1_000_000 });
    const padded = (size: number) => ({ ...quick, parameters: { note: { string_param: 'x'.repeat(size) } } });
    await client.call('ModelInfer', padded(900_000));
    const message = await expectStatus(
      client.call('ModelInfer', padded(1_100_000)),
      'RESOURCE_EXHAUSTED',
      'PAYLOAD_TOO_LARGE',
    );
    expect(message).toContain('BLIP_MAX_BODY_BYTES');
  });

  test('may be compressed; the limit is one of decoded bytes', async () => {
    const { grpc } = await start({ maxBodyBytes: 1_000_000 });
    const client = grpcClient(grpc.port, undefined, {
      'grpc.default_compression_algorithm': compressionAlgorithms.gzip,
    });
    onTestFinished(() => client.close());
    await client.call('ModelInfer', quick);
    const bomb = { ...quick, parameters: { note: { string_param: 'x'.repeat(10_000_000) } } };
    await expectStatus(client.call('ModelInfer', bomb), 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE');
  });

  test.each([
    ['in an encoding that is not known', 'br', gzipSync('x'), '12', 'UNSUPPORTED_ENCODING'],
    ['that do not decode', 'gzip', Buffer.from('no gzip'), '3', 'INVALID_REQUEST'],
  ])('%s are refused', async (_what, encoding, body, status, code) => {
    const { grpc } = await start();
    const { stream, headers } = openRaw(grpc.port, 'ModelInfer', { 'grpc-encoding': encoding });
    const prefix = Buffer.from([1, 0, 0, 0, body.length]); // Compressed, and so long.
    stream.end(Buffer.concat([prefix, body]));
    expect(await headers).toMatchObject({ 'grpc-status': status, 'error-code': code });
  });

  test.each([
    ['none', Buffer.alloc(0), {}],
    ['two', Buffer.alloc(10), {}],
    ['one with a time that is none', Buffer.alloc(5), { 'grpc-timeout': 'soon' }],
  ])('%s in a call of one is refused', async (_what, messages, given) => {
    const { grpc } = await start({ apiTokens: ['one'] });
    const { stream, headers } = openRaw(grpc.port, 'ServerMetadata', given);
    stream.end(messages);
    expect(await headers).toMatchObject({ 'grpc-status': '3', 'error-code': 'INVALID_REQUEST' });
  });

  test('to a method that needs no token are small', async () => {
    const { client, grpc } = await start({ apiTokens: ['one'] });
    const unknown = (count: number) => Buffer.from('7800'.repeat(count), 'hex'); // Field 15, which there is not.
    const check = (bytes: Buffer) => client.callRaw('Check', bytes, { service: HEALTH });
    expect(await check(unknown(32_768))).toEqual({ status: 'SERVING' });
    await expectStatus(check(unknown(32_769)), 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE');
    const gzip = { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip };
    const compressing = grpcClient(grpc.port, undefined, gzip);
    onTestFinished(() => compressing.close());
    const bomb = compressing.callRaw('Check', unknown(1_000_000), { service: HEALTH });
    expect(await expectStatus(bomb, 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE')).toContain('some methods take less');
    const long = client.call('ModelReady', { name: 'x'.repeat(65_536) });
    await expectStatus(long, 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE');
  });
});

test('a connection has a bounded number of calls', async () => {
  const { grpc } = await start({ apiTokens: ['one'] });
  const { session } = openRaw(grpc.port, 'ServerLive');
  await expect.poll(() => session.remoteSettings.maxConcurrentStreams, PATIENCE).toBe(128);
});

describe('clients that do not wait', () => {
  test('a deadline that passes ends the call and drops what it asked: its place is free', async () => {
    const { client, grpc } = await start({ maxRequestsPerToken: 1 });
    const { stream, headers } = openRaw(grpc.port, 'ModelInfer', { 'grpc-timeout': '500m' });
    stream.end(messageFrame('ModelInfer', held()));
    expect(await headers).toMatchObject({ 'grpc-status': '4', 'error-code': 'DEADLINE_EXCEEDED' });
    await expect.poll(() => client.call('ModelInfer', quick).then(() => 'answered', String), PATIENCE).toBe('answered');
  });

  test('the time that a request or the service gives it counts as over HTTP', async () => {
    const limited = await start({ requestTimeoutMs: 200 });
    await expectStatus(limited.client.call('ModelInfer', held()), 'DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED');
    const { client } = await start();
    const timed = { ...held(), parameters: { timeout: { int64_param: 200_000 } } };
    await expectStatus(client.call('ModelInfer', timed), 'DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED');
  });

  test('a message that does not arrive whole within a minute is refused', async () => {
    const { grpc, client } = await start({ maxRequestsPerToken: 1 });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
    onTestFinished(() => void vi.useRealTimers());
    const { stream, headers } = openRaw(grpc.port, 'ModelInfer');
    stream.write(Buffer.from([0, 0, 0, 0, 9, 1])); // Of nine bytes the first.
    const ask = () => client.call('ModelInfer', quick).then(() => 'answered', String);
    let answer = await ask();
    while (answer === 'answered') answer = await ask(); // Until the server has seen it.
    expect(answer).toContain('at most 1 requests');
    vi.advanceTimersByTime(60_000);
    expect(await headers).toMatchObject({ 'grpc-status': '4', 'error-code': 'REQUEST_TIMEOUT' });
    while (answer !== 'answered') answer = await ask(); // Until it counts no more.
  });

  test('a stream that needs no token ends a minute after its last message; one that has a token goes on', async () => {
    const { client } = await start();
    await client.call('ServerLive'); // The connection keeps real time.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
    onTestFinished(() => void vi.useRealTimers());
    const reflected = client.open('ServerReflectionInfo', { service: 'grpc.reflection.v1.ServerReflection' });
    const ended = new Promise((_resolve, reject) => reflected.once('error', reject));
    const inference = client.open('ModelStreamInfer');
    for (let count = 0; count < 3; count += 1) {
      reflected.write({ list_services: '' });
      await once(reflected, 'data');
      inference.write(quick);
      await once(inference, 'data');
      vi.advanceTimersByTime(31_000);
    }
    vi.advanceTimersByTime(29_000);
    await expectStatus(ended, 'DEADLINE_EXCEEDED', 'REQUEST_TIMEOUT');
    inference.write(quick);
    await once(inference, 'data');
    inference.cancel();
    await once(inference, 'error');
  });

  test('a cancelled call is not answered, and its signal reaches the model', async () => {
    const { client, model } = await start({ maxRequestsPerToken: 1 });
    const infer = vi.spyOn(model, 'inferTensors');
    const leaving = new AbortController();
    const cancelled = client.call('ModelInfer', held(), { signal: leaving.signal });
    await images.held(1);
    leaving.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 1 });
    const signal = infer.mock.calls[0]?.[0].signal;
    await expect.poll(() => signal?.aborted).toBe(true);
    expect(signal?.reason).toMatchObject({ code: 'CANCELLED' });
    images.release();
    await expect.poll(() => client.call('ModelInfer', quick).then(() => 'answered', String)).toBe('answered');
  });
});

describe('a server that is watched', () => {
  const path = '/inference.GRPCInferenceService/ModelInfer';

  async function startWatched() {
    const settings = testSettings({ apiTokens: ['one'], grpcPort: 0 });
    const model = new InferlessModel(settings);
    await model.initialize();
    const metrics = createMetrics([model]);
    const lines: object[] = [];
    const logWith = (bindings: object): Log => ({
      ...silentLog,
      info: (details, message) => lines.push({ ...bindings, ...details, message }),
      error: (details, message) => lines.push({ ...bindings, ...details, message }),
      child: (more) => logWith({ ...bindings, ...more }),
    });
    const options = { models: [model], settings, host: '127.0.0.1', admission: createAdmission(settings) };
    const grpc = await startGrpcServer({ ...options, log: logWith({}), metrics: Promise.resolve(metrics) });
    const client = grpcClient(grpc.port);
    onTestFinished(async () => {
      client.close();
      grpc.close();
      await model.finalize();
    });
    return { client, grpc, model, metrics, lines };
  }

  test('says in the log how each call ended, and names tokens by the beginning of their digest', async () => {
    const { client, lines } = await startWatched();
    await client.call('ModelInfer', quick, bearer('one'));
    await expectStatus(client.call('ModelInfer', quick, bearer('two')), 'UNAUTHENTICATED', 'UNAUTHORIZED');
    const tokenDigest = createHash('sha256').update('one').digest('hex').slice(0, 8);
    expect(lines.filter((line) => 'grpc' in line)).toMatchObject([
      { grpc: { path, status: 'OK' }, tokenDigest, responseTime: expect.any(Number) },
      { grpc: { path, status: 'UNAUTHENTICATED', errorCode: 'UNAUTHORIZED' } },
    ]);
  });

  test('counts what it answered, and what it refused', async () => {
    const { client, metrics } = await startWatched();
    await client.call('ModelInfer', quick, bearer('one'));
    for (let count = 0; count < 2; count += 1)
      await expectStatus(client.call('ModelInfer', quick), 'UNAUTHENTICATED', 'UNAUTHORIZED');
    const text = await metrics.text();
    expect(text).toContain('blip_answers_total{door="grpc",status="0"} 1');
    expect(text).toContain('blip_answers_total{door="grpc",status="16"} 2');
  });

  test('logs a call by the id and the trace that its client gave it, and answers with that id', async () => {
    const { grpc, model, lines } = await startWatched();
    vi.spyOn(model, 'inferTensors').mockRejectedValue(new TypeError('a secret of the house'));
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const given = { authorization: 'Bearer one', traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    for (const id of ['abc-1', 'a b']) {
      const { stream, headers } = openRaw(grpc.port, 'ModelInfer', { ...given, 'x-request-id': id });
      stream.end(messageFrame('ModelInfer', quick));
      const { 'x-request-id': reqId, ...rest } = await headers;
      expect(rest).toMatchObject({ 'error-code': 'INTERNAL' });
      expect(reqId).toMatch(id === 'abc-1' ? /^abc-1$/ : /^[\da-f-]{36}$/);
      expect(lines.splice(0).filter((line) => 'reqId' in line)).toMatchObject([
        { message: 'failed inside', err: new TypeError('a secret of the house'), reqId, traceId },
        { message: 'call completed', reqId, traceId },
      ]);
    }
    const { stream } = openRaw(grpc.port, 'ServerLive', { 'x-request-id': 'abc-2' });
    const trailers = once(stream, 'trailers');
    stream.resume().end(Buffer.alloc(5));
    expect((await trailers)[0]).toMatchObject({ 'grpc-status': '0', 'x-request-id': 'abc-2' });
  });
});

test('what fails inside is told to the log, and not to the client', async () => {
  const { client, model } = await start();
  vi.spyOn(model, 'inferTensors').mockRejectedValue(new TypeError('a secret of the house'));
  const message = await expectStatus(client.call('ModelInfer', quick), 'INTERNAL', 'INTERNAL');
  expect(message).not.toMatch(/secret|TypeError/);
});
