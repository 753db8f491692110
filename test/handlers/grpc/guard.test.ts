import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { compressionAlgorithms } from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import Handler from '../../../app.ts';
import { startGrpcServer } from '../../../handlers/grpc/server.ts';
import { createServer } from '../../../handlers/http/server.ts';
import { createAdmission } from '../../../handlers/service/admission.ts';
import type { Log } from '../../../handlers/service/log.ts';
import { createMetrics } from '../../../handlers/service/metrics.ts';
import { expectStatus, grpcClient, HEALTH, messageFrame, openRaw, silentLog, typedBytes } from '../../support/grpc.ts';
import {
  bytes,
  dataUri,
  expectError,
  modelSettingsOf,
  postInference,
  readAnswer,
  serverTestSettings,
} from '../../support/server.ts';
import { doorsForTest, imageServerForTest, withImageServerForEach } from '../../support/with-server.ts';

/** On a busy machine, answers take long. */
const PATIENCE = { timeout: 10_000 };

const images = withImageServerForEach();

const requestFor = (image: string) => ({ model_name: 'captioning', inputs: [typedBytes('img_url', [image])] });
const quick = requestFor(dataUri('small'));
/** Runs until the server of images answers. */
const held = () => requestFor(`${images.url}/held.png`);
const bearer = (token: string) => ({ metadata: { authorization: `Bearer ${token}` } });

describe('tokens', () => {
  test('are needed for inference, not for health and metadata', async () => {
    const { client } = await doorsForTest({ apiTokens: ['one', 'two'] });
    for (const options of [{}, bearer('three'), { metadata: { authorization: 'one' } }]) {
      const message = await expectStatus(client.call('ModelInfer', quick, options), 'UNAUTHENTICATED', 'UNAUTHORIZED');
      expect(message).not.toMatch(/one\b.*two|three/);
    }
    await client.call('ModelInfer', quick, bearer('two'));
    for (const method of ['ServerLive', 'ServerReady', 'ServerMetadata', 'RepositoryIndex']) await client.call(method);
    for (const method of ['ModelReady', 'ModelMetadata']) await client.call(method, { name: 'captioning' });
  });

  test('are needed by nobody where a platform authorizes', async () => {
    const { client } = await doorsForTest({ authorizer: 'platform', preset: 'hf' });
    await client.call('ModelInfer', quick);
    expect(await client.call('ModelMetadata', { name: 'captioning' })).toMatchObject({ properties: { preset: 'hf' } });
  });

  test('limit the requests that run at the same time, each for itself', async () => {
    const { client } = await doorsForTest({ apiTokens: ['one', 'two'], maxRequestsPerToken: 2 });
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

  test('share one limit between HTTP and gRPC', async () => {
    const settings = serverTestSettings({ maxRequestsPerToken: 1 });
    const model = new Handler(modelSettingsOf(settings));
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

    const otherImages = await imageServerForTest();
    const overGrpc = client.call('ModelInfer', requestFor(`${otherImages.url}/held.png`));
    await otherImages.held(1);
    expectError(await postInference(url, { inputs: [bytes('img_url', [dataUri('small')])] }), 429, 'OVERLOADED');
    otherImages.release();
    await overGrpc;
    readAnswer(await postInference(url, { inputs: [bytes('img_url', [dataUri('small')])] }));
  });

  test('do not count refused requests', async () => {
    const { client } = await doorsForTest({ apiTokens: ['one'], maxRequestsPerToken: 1, maxBodyBytes: 100_000 });
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
  test('larger than the limit of a body are refused; smaller ones are not', async () => {
    const { client } = await doorsForTest({ maxBodyBytes: 1_000_000 });
    const padded = (size: number) => ({ ...quick, parameters: { sequence_id: { string_param: 'x'.repeat(size) } } });
    await client.call('ModelInfer', padded(900_000));
    const message = await expectStatus(
      client.call('ModelInfer', padded(1_100_000)),
      'RESOURCE_EXHAUSTED',
      'PAYLOAD_TOO_LARGE',
    );
    expect(message).toContain('BLIP_MAX_BODY_BYTES');
  });

  test('may be compressed; the limit counts decoded bytes', async () => {
    const { grpc } = await doorsForTest({ maxBodyBytes: 1_000_000 });
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
    const { grpc } = await doorsForTest();
    const { stream, headers } = openRaw(grpc.port, 'ModelInfer', { 'grpc-encoding': encoding });
    const prefix = Buffer.from([1, 0, 0, 0, body.length]); // The flag for compression, then the length.
    stream.end(Buffer.concat([prefix, body]));
    expect(await headers).toMatchObject({ 'grpc-status': status, 'error-code': code });
  });

  test.each([
    ['none', Buffer.alloc(0), {}],
    ['two', Buffer.alloc(10), {}],
    ['one with a time that is none', Buffer.alloc(5), { 'grpc-timeout': 'soon' }],
  ])('are refused in a call that takes one: %s', async (_what, messages, requestHeaders) => {
    const { grpc } = await doorsForTest({ apiTokens: ['one'] });
    const { stream, headers } = openRaw(grpc.port, 'ServerMetadata', requestHeaders);
    stream.end(messages);
    expect(await headers).toMatchObject({ 'grpc-status': '3', 'error-code': 'INVALID_REQUEST' });
  });

  test('have a small limit where a method needs no token', async () => {
    const { client, grpc } = await doorsForTest({ apiTokens: ['one'] });
    const unknown = (count: number) => Buffer.from('7800'.repeat(count), 'hex'); // Field 15, which no message has.
    const check = (bytes: Buffer) => client.callRaw('Check', bytes, { service: HEALTH });
    expect(await check(unknown(32_768))).toEqual({ status: 'SERVING' });
    await expectStatus(check(unknown(32_769)), 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE');
    const gzip = { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip };
    const compressing = grpcClient(grpc.port, undefined, gzip);
    onTestFinished(() => compressing.close());
    const bomb = compressing.callRaw('Check', unknown(1_000_000), { service: HEALTH });
    expect(await expectStatus(bomb, 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE')).toContain(
      'less for methods without a token',
    );
    const long = client.call('ModelReady', { name: 'x'.repeat(65_536) });
    await expectStatus(long, 'RESOURCE_EXHAUSTED', 'PAYLOAD_TOO_LARGE');
  });
});

test('a connection has a bounded number of calls', async () => {
  const { grpc } = await doorsForTest({ apiTokens: ['one'] });
  const { session } = openRaw(grpc.port, 'ServerLive');
  await expect.poll(() => session.remoteSettings.maxConcurrentStreams, PATIENCE).toBe(128);
});

describe('the end of a call', () => {
  test('comes at its deadline, which drops the request and frees its place', async () => {
    const { client, grpc } = await doorsForTest({ maxRequestsPerToken: 1 });
    const { stream, headers } = openRaw(grpc.port, 'ModelInfer', { 'grpc-timeout': '500m' });
    stream.end(messageFrame('ModelInfer', held()));
    expect(await headers).toMatchObject({ 'grpc-status': '4', 'error-code': 'DEADLINE_EXCEEDED' });
    await expect.poll(() => client.call('ModelInfer', quick).then(() => 'answered', String), PATIENCE).toBe('answered');
  });

  test('comes after the time that the request or the service allows, as over HTTP', async () => {
    const limited = await doorsForTest({ requestTimeoutMs: 200 });
    await expectStatus(limited.client.call('ModelInfer', held()), 'DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED');
    const { client } = await doorsForTest();
    const timed = { ...held(), parameters: { timeout: { int64_param: 200_000 } } };
    await expectStatus(client.call('ModelInfer', timed), 'DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED');
  });

  test('comes when a message has not arrived whole within a minute', async () => {
    const { grpc, client } = await doorsForTest({ maxRequestsPerToken: 1 });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
    const { stream, headers } = openRaw(grpc.port, 'ModelInfer');
    stream.write(Buffer.from([0, 0, 0, 0, 9, 1])); // The first of nine bytes.
    const ask = () => client.call('ModelInfer', quick).then(() => 'answered', String);
    let answer = await ask();
    while (answer === 'answered') answer = await ask(); // Until the server counts the message.
    expect(answer).toContain('at most 1 requests');
    vi.advanceTimersByTime(60_000);
    expect(await headers).toMatchObject({ 'grpc-status': '4', 'error-code': 'REQUEST_TIMEOUT' });
    while (answer !== 'answered') answer = await ask(); // Until the server counts it no more.
  });

  test('comes after a minute without messages for a stream without a token; a stream with one goes on', async () => {
    const { client } = await doorsForTest();
    await client.call('ServerLive'); // Opens the connection, which needs real timers.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
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

  test('comes when the client cancels, which aborts the work of the model', async () => {
    const { client, model } = await doorsForTest({ maxRequestsPerToken: 1 });
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

describe('a server with a log and metrics', () => {
  const path = '/inference.GRPCInferenceService/ModelInfer';

  async function startWatched() {
    const settings = serverTestSettings({ apiTokens: ['one'], grpcPort: 0 });
    const model = new Handler(modelSettingsOf(settings));
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

  test("logs how each call ended, with the beginning of its token's digest", async () => {
    const { client, lines } = await startWatched();
    await client.call('ModelInfer', quick, bearer('one'));
    await expectStatus(client.call('ModelInfer', quick, bearer('two')), 'UNAUTHENTICATED', 'UNAUTHORIZED');
    const tokenDigest = createHash('sha256').update('one').digest('hex').slice(0, 8);
    expect(lines.filter((line) => 'grpc' in line)).toMatchObject([
      { grpc: { path, status: 'OK' }, tokenDigest, responseTime: expect.any(Number) },
      { grpc: { path, status: 'UNAUTHENTICATED', errorCode: 'UNAUTHORIZED' } },
    ]);
  });

  test('logs a client that hangs up in the middle of a message as one that left', async () => {
    const { grpc, lines } = await startWatched();
    const { session, stream, headers } = openRaw(grpc.port, 'ModelInfer', { authorization: 'Bearer one' });
    headers.catch(() => undefined);
    stream.write(messageFrame('ModelInfer', quick).subarray(0, 20));
    await sleep(200);
    session.destroy();
    await expect
      .poll(() => lines.filter((line) => 'grpc' in line))
      .toMatchObject([{ grpc: { path, status: 'CANCELLED' } }]);
  });

  test('counts answered and refused calls', async () => {
    const { client, metrics } = await startWatched();
    await client.call('ModelInfer', quick, bearer('one'));
    for (let count = 0; count < 2; count += 1)
      await expectStatus(client.call('ModelInfer', quick), 'UNAUTHENTICATED', 'UNAUTHORIZED');
    const text = await metrics.text();
    expect(text).toContain('blip_answers_total{door="grpc",status="0"} 1');
    expect(text).toContain('blip_answers_total{door="grpc",status="16"} 2');
  });

  test('logs the id and the trace that a client sends, and answers with that id', async () => {
    const { grpc, model, lines } = await startWatched();
    vi.spyOn(model, 'inferTensors').mockRejectedValue(new TypeError('a secret of the house'));
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const requestHeaders = { authorization: 'Bearer one', traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    for (const id of ['abc-1', 'a b']) {
      const { stream, headers } = openRaw(grpc.port, 'ModelInfer', { ...requestHeaders, 'x-request-id': id });
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

test('an internal error is in the log, and hidden from the client', async () => {
  const { client, model } = await doorsForTest();
  vi.spyOn(model, 'inferTensors').mockRejectedValue(new TypeError('a secret of the house'));
  const message = await expectStatus(client.call('ModelInfer', quick), 'INTERNAL', 'INTERNAL');
  expect(message).not.toMatch(/secret|TypeError/);
});
