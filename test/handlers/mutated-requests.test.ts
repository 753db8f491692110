import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type Handler from '../../app.ts';
import { createHandlers } from '../../handlers/aws-lambda/handlers.ts';
import type { GrpcServer } from '../../handlers/grpc/server.ts';
import { checkpointFolder, imagePath } from '../support/goldens.ts';
import { type GrpcClient, grpcClient, messageFrame, openRaw, startGrpc, typedBytes } from '../support/grpc.ts';
import { startFunction, type TestFunction } from '../support/lambda.ts';
import {
  functionUrlEvent,
  httpApiEvent,
  httpApiVersion1Event,
  lambdaContext,
  loadBalancerEvent,
  loadBalancerMultiValueEvent,
  restApiEvent,
  sqsEvent,
  sqsRecord,
} from '../support/lambda-events.ts';
import { multipart } from '../support/multipart.ts';
import { type Below, belowOf, type Json, mutateBytes, mutateJson, pick } from '../support/mutations.ts';
import { dataUri, INFER_PATH, send, serverTestSettings, startServerOfModels } from '../support/server.ts';

/**
 * Thousands of requests that were good once, changed by chance but the same in every run, at every door: each is
 * answered in time, none is blamed on the service, no answer tells of its inside, and what is good is answered as before.
 */

const SEED = 20_261_121;
/** Changes of each kind at each door. */
const ROUNDS = 40;
const CONCURRENCY = 8;
/** Far beyond what an answer takes; it bounds what hangs. */
const ANSWER_MS = 30_000;
const MAX_BODY_BYTES = 2_000_000;

const settings = {
  models: [
    { name: 'captioning', checkpoint: checkpointFolder('narrow-vision') },
    { name: 'clip', checkpoint: checkpointFolder('clip-placeholder-end') },
  ],
  maxBodyBytes: MAX_BODY_BYTES,
  imagePrivateHosts: [],
};

const png = readFileSync(imagePath('small'));
const image = dataUri('small');
const text = 'a picture of';

/** Words that would reveal internals: stacks, paths, messages of JavaScript and of libraries. */
const inside =
  /INTERNAL|\n\s+at |node_modules|node:|\/work\/|\.[cm]?[jt]s:\d|(Type|Range|Reference|Syntax)Error|undefined|Cannot read|is not (a function|iterable)|onnx|vips|sharp|fastify|busboy|ajv|polluted/i;

interface HttpMutation {
  readonly title: string;
  readonly method?: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A door of HTTP, with a request that is good. */
interface Door {
  readonly name: string;
  readonly path: string;
  readonly contentType: string;
  /** JSON, or whatever bytes. */
  readonly body: Json | Uint8Array;
  /** Stands behind the JSON. */
  readonly section?: Uint8Array;
  /** The part of a good answer that does not vary. */
  readonly read?: (text: string) => unknown;
  /** Where an answer says only that the request was accepted: the path that tells what came of it. */
  readonly endPath?: (text: string) => string | undefined;
}

const tensors = {
  id: 'good',
  parameters: { num_beams: 2 },
  inputs: [
    { name: 'img_url', shape: [1], datatype: 'BYTES', data: [image] },
    { name: 'text', shape: [1], datatype: 'BYTES', data: [text] },
    { name: 'max_new_tokens', shape: [1], datatype: 'INT64', data: [3] },
  ],
  outputs: [{ name: 'generated_output' }],
} satisfies Json;

function element(value: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  return Buffer.concat([length, value]);
}
const section = element(png);
const binaryTensors = {
  ...tensors,
  inputs: [
    { name: 'img_url', shape: [1], datatype: 'BYTES', parameters: { binary_data_size: section.length } },
    ...tensors.inputs.slice(1),
  ],
  outputs: [{ name: 'generated_output', parameters: { binary_data: true } }],
} satisfies Json;

const dictionary = { img_url: [image], text: [text], max_new_tokens: 3 } satisfies Json;
const json = 'application/json';
const form = multipart([
  { name: 'img', value: png, filename: 'small.png', 'content-type': 'image/png' },
  { name: 'txt', value: text },
  { name: 'max_new_tokens', value: '3' },
]);
const output = (answer: string) => JSON.parse(answer).output;

const doors: readonly Door[] = [
  { name: 'infer', path: INFER_PATH, contentType: json, body: tensors },
  {
    name: 'infer with binary tensors',
    path: INFER_PATH,
    contentType: 'application/octet-stream',
    body: binaryTensors,
    section,
  },
  { name: 'generate', path: '/v2/models/captioning/generate', contentType: json, body: dictionary },
  { name: 'generate_stream', path: '/v2/models/captioning/generate_stream', contentType: json, body: dictionary },
  { name: 'BentoML in a form', path: '/generate', contentType: form.contentType, body: form.body },
  { name: 'BentoML in JSON', path: '/generate', contentType: json, body: { img: image, txt: text, max_new_tokens: 3 } },
  { name: 'Hugging Face in bytes', path: '/', contentType: 'image/png', body: png },
  {
    name: 'Hugging Face in JSON',
    path: '/predict?top_k=3',
    contentType: json,
    body: { inputs: { image, text }, parameters: { max_new_tokens: 3, generate_kwargs: { num_beams: 2 } } },
  },
  {
    name: "KServe's first protocol",
    path: '/v1/models/captioning:predict',
    contentType: json,
    body: { instances: [{ img_url: { b64: png.toString('base64') }, text }], parameters: { max_new_tokens: 3 } },
  },
  {
    name: 'Vertex AI',
    path: '/vertex/predict',
    contentType: json,
    body: { instances: [dictionary, { img_url: image }], parameters: { num_beams: 2 } },
  },
  {
    name: 'Cog',
    path: '/predictions',
    contentType: json,
    body: { id: 'good', input: { image, text, max_new_tokens: 3 }, webhook: null },
    read: output,
  },
  { name: 'RunPod', path: '/runsync', contentType: json, body: { input: dictionary }, read: output },
  {
    name: 'RunPod, asked for later',
    path: '/v2/captioning/run',
    contentType: json,
    body: { input: dictionary, policy: { ttl: 60_000, executionTimeout: 60_000 }, webhook: null },
    read: output,
    endPath(answer) {
      const [, id] = /^\{"id":"([^"]+)","status":"IN_/.exec(answer) ?? [];
      return id && `/v2/captioning/status-sync/${id}?wait=${ANSWER_MS}`;
    },
  },
  { name: 'CLIP service, encode', path: '/encode', contentType: json, body: [{ img_uri: image }, { text }] },
  {
    name: 'CLIP service, rank',
    path: '/rank',
    contentType: json,
    body: { queries: [{ img_blob: png.toString('base64') }], candidates: [{ text }, { text: 'a cat' }] },
  },
];

let url: string;
let close: () => Promise<void>;
let models: readonly Handler[];
let grpc: GrpcServer;
let client: GrpcClient;
let lambda: TestFunction;
const agent = new http.Agent({ keepAlive: true, maxSockets: CONCURRENCY });

beforeAll(async () => {
  ({ url, close, models } = await startServerOfModels(settings));
  await Promise.all(models.map((model) => model.initialize()));
  grpc = await startGrpc(models, serverTestSettings(settings));
  client = grpcClient(grpc.port);
  const { models: _several, ...alone } = settings;
  lambda = startFunction(alone);
  await lambda.environment.load();
});

afterAll(async () => {
  agent.destroy();
  client?.close();
  grpc?.close();
  await lambda?.close();
  await close?.();
});

/** The number of requests that were sent. */
let sentCount = 0;

/** Does all work, some of it at the same time, each within `ANSWER_MS`. @returns the problems. */
async function inTurns<Work>(
  works: readonly Work[],
  ask: (work: Work) => Promise<string | undefined>,
): Promise<readonly string[]> {
  const queue = [...works];
  const problems: string[] = [];
  const takeTurns = async () => {
    for (let work = queue.shift(); work !== undefined; work = queue.shift()) {
      sentCount += 1;
      const late = new Promise<string>((resolve) => setTimeout(resolve, ANSWER_MS, 'no answer in time').unref());
      const problem = await Promise.race([ask(work), late]);
      if (problem !== undefined) problems.push(`${describeWork(work)}: ${problem}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, takeTurns));
  return problems;
}

/** Enough of it to send it again. */
function describeWork(work: unknown): string {
  const words = JSON.stringify(work, (_key, value) =>
    value?.type === 'Buffer' ? Buffer.from(value.data).toString('latin1').slice(0, 2_000) : value,
  );
  return words.slice(0, 2_500);
}

/** The fault of an answer; `undefined` where it has none. */
function wrongWith(status: number, answer: string): string | undefined {
  if (status < 200 || status >= 500) return `status ${status}: ${answer.slice(0, 300)}`;
  if (inside.test(answer)) return `tells of the inside: ${answer.slice(0, 500)}`;
  if (status < 400) return undefined;
  const { error, code } = JSON.parse(answer);
  const isError = typeof error === 'string' && error !== '' && error.length < 2_000 && /^[A-Z_]+$/.test(code);
  return isError ? undefined : `an error of another form: ${answer.slice(0, 300)}`;
}

function requestOf(door: Door, changed?: Uint8Array): HttpMutation {
  const { path, body, section: behind = Buffer.alloc(0), contentType } = door;
  const front = changed ?? (body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body)));
  return {
    title: 'good',
    path,
    headers: {
      'content-type': contentType,
      ...(behind.length === 0 ? {} : { [JSON_LENGTH]: String(front.length) }),
    },
    body: Buffer.concat([front, behind]),
  };
}

/** Posts to a door, and asks what came of it where it answers before the end. */
async function post({ endPath }: Door, { method = 'POST', path, headers, body }: HttpMutation) {
  const answer = await send(url, { method, path, headers, body, agent });
  const end = endPath?.(answer.text);
  return end === undefined ? answer : await send(url, { path: end, agent });
}

/** The answer to the good request, which must be a success. */
async function goodAnswer(door: Door): Promise<unknown> {
  const { status, text: answer } = await post(door, requestOf(door));
  expect(status, answer).toBe(200);
  return door.read?.(answer) ?? answer;
}

const boundaries = ['', '; boundary=', '; boundary="', `; boundary=${'x'.repeat(300)}`, '; boundary=--', '; charset=x'];
const contentTypes = [
  ...[json, `${json}; charset=utf-16`, 'text/plain', 'image/png', 'IMAGE/SVG+XML', 'application/octet-stream', ''],
  ...['application/x-www-form-urlencoded', ';', '/', 'a/b/c', 'x'.repeat(2_000), '\u00ff', '__proto__'],
  ...boundaries.map((boundary) => `multipart/form-data${boundary}`),
];
const encodings = ['gzip', 'x-gzip', 'GZIP', 'deflate', 'br', 'gzip, gzip', 'identity', '', '__proto__', 'toString'];
const lengths = ['0', '1', '-1', '1e3', '0x10', ' 7', '999999999', '9'.repeat(30), 'NaN', '', '1.5', '7, 7', '\u00ff'];
const others: readonly (readonly [string, string])[] = [
  ['accept-encoding', 'gzip;q=2, *;q=-1, \u00ff'],
  ['accept', '*/*;q=x'],
  ['authorization', `Bearer ${'x'.repeat(5_000)}`],
  ['x-request-id', `${'x'.repeat(5_000)}\u00ff`],
  ['traceparent', '00-zz-zz-zz'],
  ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
  ['expect', '100-continue'],
  ['prefer', 'respond-async, wait=1e999'],
  ['user-agent', 'hf_hub/'],
  ['cookie', '__proto__=1; a'],
  ['range', 'bytes=0-1,-1'],
  ['if-none-match', '*'],
  ['x-forwarded-for', '::ffff:127.0.0.1, \u00ff'],
  ['x-http-method-override', 'DELETE'],
];

const JSON_LENGTH = 'inference-header-content-length';

/** A request with one to three headers that are seldom right, its body sometimes in an encoding. */
function mutateHeaders(door: Door, below: Below): HttpMutation {
  const { path, ...good } = requestOf(door);
  let { headers, body } = good;
  const kinds: readonly (() => readonly [string, string])[] = [
    () => ['content-type', pick(contentTypes, below)],
    () => ['content-encoding', pick(encodings, below)],
    () => [JSON_LENGTH, pick(lengths, below)],
    () => [JSON_LENGTH, String(below(body.length + 10))],
    () => pick(others, below),
  ];
  const titles: string[] = [];
  for (let change = below(3); change >= 0; change -= 1) {
    const [name, value] = pick(kinds, below)();
    headers = { ...headers, [name]: value };
    titles.push(`${name}: ${value}`.slice(0, 80));
    if (name !== 'content-encoding' || below(2) === 0) continue;
    body = below(3) === 0 ? mutateBytes(gzipSync(body), below) : gzipSync(body);
  }
  return { title: titles.join(', '), path, headers, body };
}

const segments = [
  ...['other', '__proto__', 'constructor', '%00', '%ff', '%', '..', '%2e%2e', 'captioning%2f', 'captioning;a=b', '*'],
  ...[':model', '%F0%9F%90%88', 'x'.repeat(300), 'x'.repeat(5_000), '', 'versions/1e999', 'versions/__proto__/infer'],
];
const queries = [
  ...['max_new_tokens=1e999', '__proto__=1&constructor=1', 'a[b]=c&a=d', '%ff=%00&%', 'num_beams=[[[]]]', '&=&', '?#'],
  ...['max_new_tokens=2&max_new_tokens=3', 'image=1&text=null&candidate_labels={}', 'a=1&'.repeat(1_000)],
];

/** The good request to another path, or with a query, and sometimes by another method. */
function mutatePath(door: Door, below: Below): HttpMutation {
  const good = requestOf(door);
  const method = pick(['POST', 'POST', 'PUT', 'PATCH', 'DELETE'], below);
  const [path = ''] = door.path.split('?');
  if (below(3) === 0) return { ...good, method, path: `${path}?${pick(queries, below)}` };
  const parts = path.split('/').slice(1);
  const changed = parts.with(below(parts.length), pick(segments, below)).join('/');
  return { ...good, method, path: `/${changed}` };
}

/** The body goes on, or ends, elsewhere than it says: as text, because no client sends it. */
function mutateLength(
  door: Door,
  below: Below,
): { readonly title: string; readonly head: string; readonly body: Uint8Array } {
  const { headers, body } = requestOf(door);
  const lengthHeader = pick(
    [
      `content-length: ${below(body.length)}`,
      `content-length: ${body.length + 1 + below(1_000)}`,
      `content-length: ${pick(lengths, below)}`,
      `content-length: ${body.length}\r\ncontent-length: ${below(body.length)}`,
      `content-length: ${body.length}\r\ntransfer-encoding: chunked`,
      `transfer-encoding: ${pick(['chunked', 'chunked, chunked', 'gzip, chunked', 'identity', 'x'], below)}`,
      'x-none: 1',
    ],
    below,
  );
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const head = [`POST ${door.path} HTTP/1.1`, 'host: a', 'connection: close', ...lines, lengthHeader, '', ''].join(
    '\r\n',
  );
  return { title: lengthHeader, head, body };
}

/** Everything that the server sends until it closes the connection, whose other half is closed. */
async function exchange({ head, body }: ReturnType<typeof mutateLength>): Promise<string | undefined> {
  const socket = net.connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => undefined); // The server may close while we still write.
  socket.write(Buffer.from(head, 'latin1'));
  socket.end(body);
  await new Promise((resolve) => {
    socket.once('end', resolve);
    socket.once('close', resolve);
  });
  socket.destroy();
  const answers = Buffer.concat(chunks).toString('utf8');
  const [, status = '', rest = ''] = /^HTTP\/1\.1 (\d+) (.*)$/s.exec(answers) ?? [];
  if (status === '') return `no answer: ${answers.slice(0, 100)}`;
  return Number(status) >= 500 || inside.test(rest.split('\r\n\r\n').slice(1).join())
    ? answers.slice(0, 500)
    : undefined;
}

describe.each(doors.map((door, index) => [door.name, door, SEED + index] as const))('%s', (_, door, seed) => {
  test('answers whatever it is sent', { timeout: 120_000 }, async () => {
    const below = belowOf(seed);
    const before = await goodAnswer(door);
    const good = requestOf(door);
    const rounds = Array.from({ length: ROUNDS });
    const { body } = door;
    const structures =
      body instanceof Uint8Array ? [] : rounds.map(() => requestOf(door, Buffer.from(mutateJson(body, below))));
    const spoiled = [...rounds, ...(structures.length === 0 ? rounds : [])].map(() => {
      const changed = mutateBytes(good.body, below);
      return { ...good, title: 'bytes', body: changed };
    });
    const headed = rounds.map(() => mutateHeaders(door, below));
    const astray = rounds.slice(0, 20).map(() => mutatePath(door, below));
    const wrong = await inTurns([...structures, ...spoiled, ...headed, ...astray], async (request) => {
      const { status, text: answer } = await post(door, request);
      return wrongWith(status, answer);
    });
    const wrongLengths = await inTurns(
      rounds.slice(0, 10).map(() => mutateLength(door, below)),
      exchange,
    );
    expect([...wrong, ...wrongLengths]).toEqual([]);
    expect(await goodAnswer(door)).toEqual(before);
    expect(Object.keys(Object.getPrototypeOf({})), 'keys that every object has').toEqual([]);
  });
});

describe('gRPC', () => {
  const request = {
    model_name: 'captioning',
    id: 'good',
    inputs: [
      typedBytes('img_url', [png]),
      typedBytes('text', [text]),
      { name: 'max_new_tokens', datatype: 'INT64', shape: [1], contents: { int64_contents: [3] } },
    ],
    outputs: [{ name: 'generated_output' }],
    parameters: { num_beams: { int64_param: 2 } },
  };
  const frame = messageFrame('ModelInfer', request);
  /** Statuses that blame the service: UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS; and DEADLINE_EXCEEDED. */
  const blamed = [2, 13, 14, 15, 4];

  function wrongStatus(code: number, details: string): string | undefined {
    if (blamed.includes(code)) return `status ${code}: ${details}`;
    return inside.test(details) ? `tells of the inside: ${details}` : undefined;
  }

  test('answers whatever message it is sent', { timeout: 120_000 }, async () => {
    const below = belowOf(SEED - 1);
    const before = await client.call('ModelInfer', request);
    const messages = Array.from({ length: 3 * ROUNDS }, () => mutateBytes(frame.subarray(5), below));
    const methods = ['ModelMetadata', 'ModelReady', 'ServerMetadata'];
    const works = messages.map((message, index) => ({
      message,
      method: index % 5 === 0 ? pick(methods, below) : 'ModelInfer',
    }));
    const wrong = await inTurns(works, ({ method, message }) =>
      client.callRaw(method, message).then(
        () => undefined,
        ({ code, details }) => wrongStatus(code, details),
      ),
    );
    expect(wrong).toEqual([]);
    expect(await client.call('ModelInfer', request)).toEqual(before);
  });

  test('answers whatever frame it is sent', { timeout: 120_000 }, async () => {
    const below = belowOf(SEED - 2);
    const frames = Array.from({ length: ROUNDS }, () => {
      const head = mutateBytes(frame.subarray(0, 5), below);
      return { sent: Buffer.concat([head, mutateBytes(frame.subarray(5), below)]), isStream: below(2) === 0 };
    });
    const wrong = await inTurns(frames, async ({ sent, isStream }) => {
      const { stream, session, headers } = openRaw(grpc.port, isStream ? 'ModelStreamInfer' : 'ModelInfer');
      const chunks: Buffer[] = [];
      const trailers = new Promise<object>((resolve) => {
        stream.on('trailers', resolve);
        stream.on('close', () => resolve({}));
      });
      stream.on('data', (chunk) => chunks.push(chunk)).end(sent);
      // A call that fails at once has its status in its only headers.
      const status: Record<string, unknown> = { ...(await Promise.race([headers, trailers])), ...(await trailers) };
      session.destroy();
      if (status['grpc-status'] === undefined) return 'no status';
      const details = decodeURIComponent(String(status['grpc-message'] ?? ''));
      return wrongStatus(Number(status['grpc-status']), `${details}${Buffer.concat(chunks).toString('latin1')}`);
    });
    expect(wrong).toEqual([]);
    expect(await client.call('ModelInfer', request)).toMatchObject({ id: 'good' });
  });
});

describe('AWS Lambda', () => {
  const handle = (event: unknown) =>
    createHandlers(lambda.environment, { onResult: () => undefined }).handler(event, lambdaContext());
  const direct = { ...dictionary, id: 'good' };

  test('answers whatever it is invoked with', { timeout: 120_000 }, async () => {
    const below = belowOf(SEED - 3);
    const before = await handle(direct);
    const events = Array.from({ length: 2 * ROUNDS }, (_, index) =>
      mutateJson(index % 2 === 0 ? direct : tensors, below),
    );
    const wrong = await inTurns(events, async (event) => {
      const parsed = parsedOr(event);
      return await handle(parsed).then(() => undefined, wrongWithFailure);
    });
    expect(wrong).toEqual([]);
    expect(await handle(direct)).toEqual(before);
  });

  test('answers whatever a Function URL is sent', { timeout: 120_000 }, async () => {
    const below = belowOf(SEED - 4);
    const bodies = Array.from({ length: 2 * ROUNDS }, (_, index) =>
      index % 2 === 0
        ? mutateJson(tensors, below)
        : mutateBytes(Buffer.from(JSON.stringify(tensors)), below).toString('base64'),
    );
    const wrong = await inTurns(bodies, async (body) => {
      const event = functionUrlEvent({ path: INFER_PATH, method: 'POST' });
      const answer = await handle({ ...event, body, isBase64Encoded: !body.startsWith('{') });
      const { statusCode, body: answered } = answer as { statusCode: number; body: string }; // Of a Function URL.
      return wrongWith(statusCode, answered);
    });
    expect(wrong).toEqual([]);
  });

  /** Over HTTP every answer has a date and an id of its own. */
  const handleRepeatably = async (event: unknown) => ({
    ...Object(await handle(event)),
    headers: [],
    multiValueHeaders: [],
  });

  const request = { path: INFER_PATH, query: 'a=1&b=2', headers: { cookie: 'a=1' }, body: tensors };
  const good: readonly (readonly [string, object])[] = [
    ['a REST API', restApiEvent(request)],
    ['an HTTP API with the old format', httpApiVersion1Event(request)],
    ['an HTTP API', { ...httpApiEvent(request, 'prod'), cookies: ['a=1', 'b=2'] }],
    ['a Function URL', functionUrlEvent({ ...request, base64: true })],
    ['a load balancer', loadBalancerEvent(request)],
    ['a load balancer with multi-value headers', loadBalancerMultiValueEvent(request)],
    ['a queue', sqsEvent({ first: tensors })],
    ['a FIFO queue', { Records: [sqsRecord('first', direct, { MessageGroupId: 'a' })] }],
  ];

  test.each(good)('answers whatever comes in place of an event of %s', { timeout: 120_000 }, async (_, event) => {
    const below = belowOf(SEED - 6);
    const before = await handleRepeatably(event);
    const events = Array.from({ length: ROUNDS }, () => mutateJson(event as Json, below)); // It has no methods.
    const wrong = await inTurns(events, (changed) => handle(parsedOr(changed)).then(wrongWithAnswer, wrongWithFailure));
    expect(wrong).toEqual([]);
    expect(await handleRepeatably(event)).toEqual(before);
  });

  test('has a result for whatever a message says: none comes again', { timeout: 120_000 }, async () => {
    const below = belowOf(SEED - 5);
    const batches = Array.from({ length: ROUNDS / 5 }, () =>
      Object.fromEntries(
        Array.from({ length: 10 }, (_, index) => [
          `m${index}`,
          index % 2 === 0
            ? mutateJson(direct, below)
            : mutateBytes(Buffer.from(JSON.stringify(tensors)), below).toString(),
        ]),
      ),
    );
    const results: unknown[] = [];
    const { handler } = createHandlers(lambda.environment, {
      onResult: ({ record: _record, ...result }) => void results.push(result),
    });
    for (const batch of batches)
      expect(await handler(sqsEvent(batch), lambdaContext(120_000)), JSON.stringify(batch).slice(0, 5_000)).toEqual({
        batchItemFailures: [],
      });
    sentCount += results.length;
    expect(results).toHaveLength(10 * batches.length);
    expect(results.map((result) => JSON.stringify(result)).filter((result) => inside.test(result))).toEqual([]);
  });
});

/** The fault of an answer to an event of any kind: only HTTP answers have a status. */
function wrongWithAnswer(answer: unknown): string | undefined {
  const { statusCode, body = '' } = answer as { statusCode?: number; body?: string }; // Answers are objects.
  return statusCode === undefined ? undefined : wrongWith(statusCode, body);
}

/** The fault of a failed invocation, whose error must have one of our codes as its name. */
function wrongWithFailure({ name, message }: Error): string | undefined {
  const isOurs = name !== 'INTERNAL' && /^[A-Z_]+$/.test(name) && !inside.test(message);
  return isOurs ? undefined : `${name}: ${message}`;
}

/** The event as Lambda hands it over: it went through JSON. */
function parsedOr(event: string): unknown {
  try {
    return JSON.parse(event);
  } catch {
    return event;
  }
}

test('there were thousands of requests, and the models live', () => {
  expect(sentCount).toBeGreaterThanOrEqual(2_000);
  for (const { model } of models) expect(model?.isHealthy()).toBe(true);
});
