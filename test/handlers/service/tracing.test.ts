import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createServer } from '../../../handlers/http/server.ts';
import { expectStatus, typedBytes } from '../../support/grpc.ts';
import { startFunction } from '../../support/lambda.ts';
import { functionUrlEvent } from '../../support/lambda-events.ts';
import { bytes, dataUri, expectError, INFER_PATH, postInference, readAnswer, send } from '../../support/server.ts';
import {
  doorsForTest,
  imageServerForTest,
  serverForTest,
  withDoors,
  withImageServer,
} from '../../support/with-server.ts';

/** The spans of requests over real connections, as an operator's SDK exports them. */

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
provider.register();

const doors = withDoors({ apiTokens: ['one-token'] });
const images = withImageServer();
beforeEach(() => exporter.reset());

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const callerId = '00f067aa0ba902b7';
const traced = { traceparent: `00-${traceId}-${callerId}-01`, authorization: 'Bearer one-token' };
const ofModel = { 'blip.model.name': 'captioning', 'blip.task': 'captioning' };
const infer = (image: string, texts: readonly string[] = ['']) => ({
  inputs: [bytes('img_url', [image]), bytes('text', texts)],
});

const nanoseconds = ([seconds, rest]: readonly [number, number]) => BigInt(seconds) * 1_000_000_000n + BigInt(rest);
const parentOf = ({ parentSpanContext }: ReadableSpan) => parentSpanContext?.spanId;

/** The span of the test's only request, and the spans inside it. It ends when the connection has the answer. */
async function requestSpan(): Promise<{ readonly span: ReadableSpan; readonly stages: readonly ReadableSpan[] }> {
  const isRequest = ({ name }: ReadableSpan) => !/^(?:fetch|inspect|decode|queue|run)$/.test(name);
  await expect.poll(() => exporter.getFinishedSpans().filter(isRequest)).toHaveLength(1);
  const spans = exporter.getFinishedSpans();
  const [span] = spans.filter(isRequest);
  if (span === undefined) throw new Error('Expected a span, as polled for.');
  const { spanId } = span.spanContext();
  return { span, stages: spans.filter((each) => parentOf(each) === spanId) };
}

/** The stages of a request about one image must lie within its span. */
function expectStages({ span, stages }: Awaited<ReturnType<typeof requestSpan>>, batchSize: number): void {
  const names = stages.map(({ name }) => name);
  expect(names.filter((name) => name !== 'queue')).toEqual(['fetch', 'inspect', 'decode', 'run']);
  expect(names).toContain('queue'); // Once for the batch; on a busy machine once more for memory.
  expect(exporter.getFinishedSpans()).toHaveLength(stages.length + 1);
  for (const { name, kind, status, attributes } of stages) {
    const size = name === 'run' ? { 'blip.batch.size': batchSize } : {};
    expect({ kind, status, attributes }).toEqual({
      kind: SpanKind.INTERNAL,
      status: { code: SpanStatusCode.UNSET },
      attributes: { ...ofModel, ...size },
    });
  }
  const times = [span.startTime, ...stages.flatMap(({ startTime, endTime }) => [startTime, endTime]), span.endTime];
  const inOrder = times.map(nanoseconds).sort((one, other) => Number(one - other));
  expect(times.map(nanoseconds)).toEqual(inOrder);
}

/** Spans must hold names of the service only, nothing that a request contains. */
function expectNoContent(secrets: RegExp): void {
  const content = exporter.getFinishedSpans().map(({ name, attributes, events, links, status, resource }) => {
    return { name, attributes, events, links, status, resource: resource.attributes };
  });
  expect(JSON.stringify(content)).not.toMatch(secrets);
}

const httpAttributes = {
  'http.request.method': 'POST',
  'http.route': '/v2/models/:model/infer',
  'url.path': INFER_PATH,
  'url.scheme': 'http',
};

describe('over HTTP', () => {
  test("a request has a span inside its caller's span, and its stages have spans inside that", async () => {
    const body = infer(`${images.url}/chelsea.png#secret-fragment`, ['secret-prompt', 'secret-other']);
    const path = `${INFER_PATH}?secret-query`;
    readAnswer(await postInference(doors.url, body, { path, headers: traced }));
    const { span, stages } = await requestSpan();
    expect(span).toMatchObject({
      name: 'POST /v2/models/:model/infer',
      kind: SpanKind.SERVER,
      parentSpanContext: { traceId, spanId: callerId, isRemote: true },
      status: { code: SpanStatusCode.UNSET },
      instrumentationScope: { name: 'blip-handler', version: expect.stringMatching(/^\d/) },
    });
    expect(span.spanContext().traceId).toBe(traceId);
    expect(span.attributes).toEqual({ ...httpAttributes, ...ofModel, 'http.response.status_code': 200 });
    expectStages({ span, stages }, 2);
    expectNoContent(/secret|chelsea|one-token|127\.0\.0\.1/);
  });

  test('a request without a caller begins a trace; a request that its caller does not record is not recorded', async () => {
    await send(doors.url, { path: '/v2/health/live' });
    const { span } = await requestSpan();
    expect(span).toMatchObject({ name: 'GET /v2/health/live', parentSpanContext: undefined });
    exporter.reset();
    const traceparent = `00-${traceId}-${callerId}-00`;
    readAnswer(await postInference(doors.url, infer(dataUri('small')), { headers: { ...traced, traceparent } }));
    await send(doors.url, { path: '/v2/health/live' });
    expect((await requestSpan()).span.name).toBe('GET /v2/health/live');
    expect(exporter.getFinishedSpans()).toHaveLength(1);
  });

  test('a failed request has its code as error type; only faults of the server set the status of the span', async () => {
    const path = '/nothing.png?secret-signature';
    const answer = await postInference(doors.url, infer(`${images.url}${path}`), { headers: traced });
    expectError(answer, 424, 'IMAGE_FETCH_FAILED');
    const { span, stages } = await requestSpan();
    const code = { 'error.type': 'IMAGE_FETCH_FAILED' };
    expect(span.attributes).toEqual({ ...httpAttributes, ...ofModel, ...code, 'http.response.status_code': 424 });
    expect(span.status).toEqual({ code: SpanStatusCode.UNSET });
    const [fetched] = stages;
    expect(stages).toHaveLength(1);
    expect(fetched).toMatchObject({ name: 'fetch', status: { code: SpanStatusCode.ERROR } });
    expect(fetched?.attributes).toEqual({ ...ofModel, ...code });
    expectNoContent(/secret/);
    exporter.reset();

    const unloaded = await serverForTest({}, { initialize: false });
    expectError(await send(unloaded.url, { method: 'POST', path: '/predictions' }), 503, 'NOT_READY');
    expect((await requestSpan()).span).toMatchObject({
      name: 'POST /predictions',
      status: { code: SpanStatusCode.ERROR },
      attributes: { 'error.type': 'NOT_READY', 'http.response.status_code': 503 },
    });
  });

  test.each([
    ['POST', INFER_PATH, 'POST /v2/models/:model/infer', { 'error.type': 'UNAUTHORIZED' }],
    ['DELETE', INFER_PATH, 'DELETE /v2/models/:model/infer', { 'error.type': 'METHOD_NOT_ALLOWED' }],
    ['GET', '/secret-path', 'GET', { 'error.type': 'NOT_FOUND', 'url.path': '/secret-path' }],
    ['GET', '/v2/models/%ff', 'GET', { 'error.type': 'INVALID_REQUEST', 'url.path': '/v2/models/%ff' }],
    ['PROPFIND', '/v2', 'HTTP', { 'http.request.method': '_OTHER', 'http.request.method_original': 'PROPFIND' }],
  ])(
    'a request that reaches no model has a span with the name of its route: %s %s',
    async (method, path, name, attributes) => {
      const { status } = await send(doors.url, { method, path });
      const { span } = await requestSpan();
      expect(span).toMatchObject({ name, attributes: { ...attributes, 'http.response.status_code': status } });
      expect('http.route' in span.attributes).toBe(name.includes('/'));
    },
  );

  test('a job that fails has a failed span, although its answer has status 200', async () => {
    const body = JSON.stringify({ input: { img_url: '####' } });
    for (const path of ['/predictions', '/runsync']) {
      exporter.reset();
      expect(await send(doors.url, { method: 'POST', path, body, headers: traced })).toMatchObject({ status: 200 });
      expect((await requestSpan()).span).toMatchObject({
        status: { code: SpanStatusCode.UNSET },
        attributes: { 'error.type': 'IMAGE_SOURCE_INVALID', 'http.response.status_code': 200 },
      });
    }
  });

  test('a client that disconnects ends the span of its request', async () => {
    const pictures = await imageServerForTest();
    const outgoing = http.request(new URL(INFER_PATH, doors.url), { method: 'POST', headers: traced });
    outgoing.on('error', () => undefined); // It disconnects below.
    outgoing.end(JSON.stringify(infer(`${pictures.url}/held.png`)));
    await pictures.held(1);
    outgoing.destroy();
    const { span } = await requestSpan();
    expect(span.attributes).toEqual({ ...httpAttributes, ...ofModel, 'error.type': 'CANCELLED' });
    await expect.poll(() => exporter.getFinishedSpans().map(({ name }) => name)).toContain('fetch');
  });

  test('a request inside the span of another instrumentation has an internal span', async () => {
    const server = createServer([doors.model], doors.settings);
    onTestFinished(() => server.close());
    const outer = trace.getTracer('another').startSpan('POST', { kind: SpanKind.SERVER });
    const injected = { method: 'POST', url: INFER_PATH, headers: traced, payload: infer(dataUri('small')) } as const;
    await context.with(trace.setSpan(context.active(), outer), async () => await server.inject(injected));
    const { span } = await requestSpan();
    expect(span.kind).toBe(SpanKind.INTERNAL);
    expect(span.parentSpanContext).toMatchObject(outer.spanContext());
  });
});

describe('over gRPC', () => {
  const rpc = { 'rpc.system.name': 'grpc', 'rpc.method': 'inference.GRPCInferenceService/ModelInfer' };
  const requestFor = (image: string) => ({
    model_name: 'captioning',
    inputs: [typedBytes('img_url', [image]), typedBytes('text', ['secret-prompt'])],
  });

  test("a call has a span inside its caller's span, and its stages have spans inside that", async () => {
    await doors.client.call('ModelInfer', requestFor(`${images.url}/chelsea.png#secret`), { metadata: traced });
    const { span, stages } = await requestSpan();
    expect(span).toMatchObject({
      name: 'inference.GRPCInferenceService/ModelInfer',
      kind: SpanKind.SERVER,
      parentSpanContext: { traceId, spanId: callerId, isRemote: true },
      status: { code: SpanStatusCode.UNSET },
    });
    expect(span.attributes).toEqual({ ...rpc, ...ofModel, 'rpc.status_code': 'OK' });
    expectStages({ span, stages }, 1);
    expectNoContent(/secret|chelsea|one-token|127\.0\.0\.1/);
  });

  test('a failed request has its code as error type; only faults of the server set the status of the span', async () => {
    const image = requestFor(dataUri('small'));
    await expectStatus(doors.client.call('ModelInfer', image), 'UNAUTHENTICATED', 'UNAUTHORIZED');
    const { span } = await requestSpan();
    expect(span.status).toEqual({ code: SpanStatusCode.UNSET });
    expect(span.attributes).toEqual({ ...rpc, 'rpc.status_code': 'UNAUTHENTICATED', 'error.type': 'UNAUTHORIZED' });
    exporter.reset();
    const unloaded = await doorsForTest({}, { initialize: false });
    await expectStatus(unloaded.client.call('ModelInfer', image), 'UNAVAILABLE', 'NOT_READY');
    expect((await requestSpan()).span).toMatchObject({
      status: { code: SpanStatusCode.ERROR },
      attributes: { 'rpc.status_code': 'UNAVAILABLE', 'error.type': 'NOT_READY' },
    });
  });

  test('a stream has one span, with the stages of all its requests', async () => {
    const stream = doors.client.open('ModelStreamInfer', { metadata: traced });
    const ended = once(stream, 'end');
    stream.resume();
    for (let count = 0; count < 2; count += 1) stream.write(requestFor(dataUri('small')));
    stream.end();
    await ended;
    const { span, stages } = await requestSpan();
    expect(span.name).toBe('inference.GRPCInferenceService/ModelStreamInfer');
    expect(stages.filter(({ name }) => name === 'run')).toHaveLength(2);
  });
});

test('an HTTP event of AWS Lambda has the span of its route', async () => {
  const lambda = startFunction();
  onTestFinished(() => lambda.close());
  const event = functionUrlEvent({ path: INFER_PATH, body: infer(`${images.url}/chelsea.png`), headers: traced });
  expect(await lambda.invoke(event)).toMatchObject({ statusCode: 200 });
  const { span, stages } = await requestSpan();
  expect(parentOf(span)).toBe(callerId);
  expect(span.attributes).toEqual({ ...httpAttributes, ...ofModel, 'http.response.status_code': 200 });
  expectStages({ span, stages }, 1);
});

describe('hosts of images', () => {
  /** A host that records the headers of requests, and answers 404. */
  async function startHost(): Promise<{ readonly url: string; readonly received: http.IncomingHttpHeaders[] }> {
    const received: http.IncomingHttpHeaders[] = [];
    const host = http.createServer(({ headers }, response) => {
      received.push(headers);
      response.writeHead(404).end();
    });
    host.listen(0, '127.0.0.1');
    await once(host, 'listening');
    onTestFinished(() => void host.close());
    return { url: `http://127.0.0.1:${(host.address() as AddressInfo).port}`, received }; // It listens on a port.
  }

  /** Like @opentelemetry/instrumentation-http: adds the trace to every request that node:http sends. */
  function instrumentHttp(): void {
    const addRequest: unknown = Reflect.get(http.Agent.prototype, 'addRequest');
    if (typeof addRequest !== 'function') throw new Error('Expected agents of node:http to take requests.');
    Reflect.set(
      http.Agent.prototype,
      'addRequest',
      function (this: http.Agent, ...args: [http.ClientRequest, unknown]) {
        const span = trace.getTracer('http').startSpan('GET', { kind: SpanKind.CLIENT });
        const inside = trace.setSpan(context.active(), span);
        propagation.inject(inside, args[0], { set: (carrier, name, value) => void carrier.setHeader(name, value) });
        return Reflect.apply(addRequest, this, args);
      },
    );
    onTestFinished(() => void Reflect.set(http.Agent.prototype, 'addRequest', addRequest));
  }

  test('do not receive the trace, whatever instruments node:http', async () => {
    instrumentHttp();
    const { url, received } = await startHost();
    const server = createServer([doors.model], doors.settings);
    onTestFinished(() => server.close());
    const caller = propagation.extract(ROOT_CONTEXT, traced);
    await context.with(caller, async () => {
      await new Promise((resolve) => http.get(url, (response) => response.resume().once('end', resolve)));
      const injected = { method: 'POST', url: INFER_PATH, headers: traced, payload: infer(`${url}/a.png`) } as const;
      expect((await server.inject(injected)).statusCode).toBe(424);
    });
    const [others, ours] = received;
    expect(received).toHaveLength(2);
    expect(others?.['traceparent']).toContain(traceId);
    expect(Object.keys(ours ?? {}).sort()).toEqual([
      'accept',
      'accept-encoding',
      'accept-language',
      'connection',
      'host',
      'user-agent',
    ]);
  });
});
