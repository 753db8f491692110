import { describe, expect, test } from 'vitest';
import { createHandlers } from '../../../handlers/aws-lambda/handlers.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { type HttpResult, httpResultOf, startFunction } from '../../support/lambda.ts';
import {
  type EventRequest,
  functionUrlEvent,
  httpApiEvent,
  httpApiVersion1Event,
  lambdaContext,
  loadBalancerEvent,
  loadBalancerMultiValueEvent,
  restApiEvent,
} from '../../support/lambda-events.ts';
import { bytes, dataUri, INFER_PATH, send } from '../../support/server.ts';
import { imageServerForTest, withFunction, withServer } from '../../support/with-server.ts';

/** Sends every kind of HTTP event through the real handler to the real model, and compares with the HTTP server. */

const TOKEN = 'a-token';
const authorized = { Authorization: `Bearer ${TOKEN}` };
const inference = { id: 'Größe', inputs: [bytes('img_url', [dataUri('chelsea')]), bytes('text', ['a picture of'])] };

const kinds: readonly (readonly [string, (request: EventRequest) => object])[] = [
  ['a REST API', restApiEvent],
  ['an HTTP API with the old format', (request) => httpApiVersion1Event(request)],
  ['an HTTP API', (request) => httpApiEvent(request)],
  ['a stage of an HTTP API', (request) => httpApiEvent(request, 'prod')],
  ['a Function URL', functionUrlEvent],
  ['a load balancer', loadBalancerEvent],
  ['a load balancer with multi-value headers', loadBalancerMultiValueEvent],
];

/** Headers that only a connection has, the time, and the request's own id. */
const connectionHeaders = ['connection', 'keep-alive', 'content-length', 'date', 'x-request-id'];

function headersOf({ headers, multiValueHeaders }: HttpResult): object {
  const all =
    headers ?? Object.fromEntries(Object.entries(multiValueHeaders ?? {}).map(([name, [value]]) => [name, value]));
  return withoutConnection(all);
}

function withoutConnection(headers: object): object {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !connectionHeaders.includes(name)));
}

const served = withFunction({ apiTokens: [TOKEN], lambdaAuthorizer: 'tokens' });
const server = withServer({ apiTokens: [TOKEN] });

describe.each(kinds)('%s', (_name, event) => {
  test.each<[string, EventRequest]>([
    ['an image', { path: INFER_PATH, headers: authorized, body: inference }],
    ['an image in base64', { path: INFER_PATH, headers: authorized, body: inference, base64: true }],
    ['a slash at the end', { path: '/v2/models/captioning/versions/1/infer/', headers: authorized, body: inference }],
    ['the server', { path: '/v2' }],
    ['HEAD', { path: '/v2/models/captioning', method: 'HEAD' }],
    ['a query', { path: '/v2/models', query: 'a=1&a=2%20' }],
    ['readiness', { path: '/v2/health/ready' }],
    ['no such path', { path: '/nowhere' }],
    ['no such model', { path: '/v2/models/other/infer', headers: authorized, body: inference }],
    ['no CLIP', { path: '/encode', headers: authorized, body: [{ text: 'a cat' }] }],
    ['another method', { path: INFER_PATH, method: 'DELETE' }],
    ['a name that does not decode', { path: '/v2/models/%zz' }],
    ['no token', { path: INFER_PATH, body: inference }],
    ['another token', { path: INFER_PATH, headers: { Authorization: 'Bearer other' }, body: inference }],
    ['no JSON', { path: INFER_PATH, headers: authorized, body: '{"inputs":' }],
    ['no body', { path: INFER_PATH, method: 'POST', headers: authorized }],
    ['a compressed body', { path: INFER_PATH, headers: { ...authorized, 'Content-Encoding': 'gzip' }, body: 'x' }],
    [
      'an image that is none',
      { path: INFER_PATH, headers: authorized, body: { inputs: [bytes('img_url', ['data:,x'])] } },
    ],
  ])('answers as the HTTP server does: %s', async (_title, request) => {
    const answer = httpResultOf(await served.invoke(event(request)));
    const { method = request.body === undefined ? 'GET' : 'POST', path = '/', query, headers = {}, body } = request;
    const raw = typeof body === 'object' ? JSON.stringify(body) : body;
    const reference = await send(server.url, {
      method,
      path: query === undefined ? path : `${path}?${query}`,
      headers: { ...headers },
      ...(raw === undefined ? {} : { body: raw }),
    });
    expect({ status: answer.statusCode, headers: headersOf(answer), text: answer.body }).toEqual({
      status: reference.status,
      headers: withoutConnection(reference.headers),
      text: reference.text,
    });
    expect(answer.isBase64Encoded).toBe(false);
  });

  test('answers with tensors as bytes in base64', async () => {
    const body = { ...inference, parameters: { binary_data_output: true } };
    const answer = httpResultOf(await served.invoke(event({ path: INFER_PATH, headers: authorized, body })));
    const reference = await send(server.url, {
      method: 'POST',
      path: INFER_PATH,
      headers: authorized,
      body: JSON.stringify(body),
    });
    expect(answer.isBase64Encoded).toBe(true);
    expect(Buffer.from(answer.body, 'base64')).toEqual(reference.bytes);
    expect(headersOf(answer)).toMatchObject({
      'inference-header-content-length': reference.headers['inference-header-content-length'],
    });
  });

  test('answers a malformed event as a malformed request', async () => {
    const malformed = { ...event({ path: INFER_PATH, headers: authorized, body: inference }), body: 5 };
    const answer = httpResultOf(await served.invoke(malformed));
    expect(answer.statusCode).toBe(400);
    const error = 'Expected body to be string,null, got 5.';
    expect(JSON.parse(answer.body)).toEqual({ error, code: 'INVALID_REQUEST' });
  });

  test('leaves compression to the platform', async () => {
    const headers = { ...authorized, 'Accept-Encoding': 'gzip' };
    const answer = httpResultOf(await served.invoke(event({ path: '/v2/models/captioning', headers })));
    expect(JSON.parse(answer.body)).toMatchObject({ name: 'captioning' });
    expect(headersOf(answer)).not.toHaveProperty('content-encoding');
  });
});

describe('paths', () => {
  test.each(['//example.com/v2', '/\\example.com/v2', '/v2/models/captioning%3Fa', '/v2?a', '/v2#a', '/ v2'])(
    '%s is no other path, and no other host',
    async (path) => {
      expect(httpResultOf(await served.invoke(functionUrlEvent({ path }))).statusCode).toBe(404);
    },
  );

  test('may begin with the base path of a custom domain', async () => {
    const { handler } = createHandlers(served.environment, { basePath: '/captions' });
    const ask = async (path: string) => httpResultOf(await handler(restApiEvent({ path }), lambdaContext())).statusCode;
    expect(await ask('/captions/v2')).toBe(200);
    expect(await ask('/v2')).toBe(200);
    expect(await ask('/other/v2')).toBe(404);
  });

  test.each([
    ['BREW', 400],
    ['PROPFIND', 404],
  ])('a request with the method %s is refused', async (method, status) => {
    expect(httpResultOf(await served.invoke(functionUrlEvent({ path: '/v2', method }))).statusCode).toBe(status);
  });
});

describe('several models', () => {
  const models = [
    { name: 'words', checkpoint: checkpointFolder('narrow-vision') },
    { name: 'vectors', checkpoint: checkpointFolder('clip-placeholder-end') },
  ];
  const several = withFunction({ models });

  const body = (request: EventRequest) => several.invoke(functionUrlEvent(request)).then(httpResultOf);

  test('have a path each', async () => {
    expect(JSON.parse((await body({ path: '/v2/models' })).body)).toEqual({ models: ['words', 'vectors'] });
    const words = await body({
      path: '/v2/models/words/infer',
      body: { inputs: [bytes('img_url', [dataUri('small')])] },
    });
    expect(JSON.parse(words.body)).toMatchObject({ model_name: 'words', outputs: [{ name: 'generated_output' }] });
    const vectors = await body({ path: '/v2/models/vectors/infer', body: { inputs: [bytes('text', ['a cat'])] } });
    expect(JSON.parse(vectors.body)).toMatchObject({ model_name: 'vectors', outputs: [{ name: 'text_embeds' }] });
  });

  test('leave the routes of CLIP-API-service to CLIP', async () => {
    const encoded = await body({ path: '/encode', body: [{ text: 'a cat' }, { img_uri: dataUri('small') }] });
    expect(JSON.parse(encoded.body)).toHaveLength(2);
    const ranking = await body({
      path: '/rank',
      body: { queries: [{ img_uri: dataUri('small') }], candidates: [{ text: 'a cat' }, { text: 'a dog' }] },
    });
    expect(JSON.parse(ranking.body)).toMatchObject({ probabilities: [[expect.any(Number), expect.any(Number)]] });
  });
});

describe('authorization', () => {
  test.each(kinds)('%s is closed without tokens', async (_name, event) => {
    const open = startFunction({ lambdaAuthorizer: 'tokens' });
    for (const request of [{ path: '/v2' }, { path: INFER_PATH, body: inference }]) {
      const answer = httpResultOf(await open.invoke(event(request)));
      expect(answer.statusCode).toBe(500);
      expect(JSON.parse(answer.body)).toEqual({
        error: expect.stringMatching(/BLIP_API_TOKENS.*BLIP_LAMBDA_AUTHORIZER/),
        code: 'SETTINGS_INVALID',
      });
    }
    expect(open.environment.models[0]?.model).toBeUndefined(); // Nor does an unauthorized request load the model.
  });

  test('needs no token where AWS authorizes callers', async () => {
    const trusted = startFunction({ lambdaAuthorizer: 'platform' });
    const answer = httpResultOf(await trusted.invoke(functionUrlEvent({ path: INFER_PATH, body: inference })));
    await trusted.close();
    expect(answer.statusCode).toBe(200);
  });

  test('needs no token where BLIP_AUTHORIZER names a platform, and takes none beside it', async () => {
    const trusted = startFunction({ authorizer: 'platform', lambdaAuthorizer: 'tokens' });
    const answer = httpResultOf(await trusted.invoke(functionUrlEvent({ path: INFER_PATH, body: inference })));
    await trusted.close();
    expect(answer.statusCode).toBe(200);
    expect(() => startFunction({ authorizer: 'platform', apiTokens: [TOKEN] })).toThrow(/BLIP_AUTHORIZER.*got both/);
  });

  test('needs a token even there, where tokens are set', async () => {
    const both = startFunction({ apiTokens: [TOKEN], lambdaAuthorizer: 'platform' });
    const answer = httpResultOf(await both.invoke(functionUrlEvent({ path: INFER_PATH, body: inference })));
    await both.close();
    expect(answer.statusCode).toBe(401);
  });
});

describe('an answer that is too large for the platform', () => {
  /** The id of a request is part of its answer. */
  const withId = (length: number) => ({ ...inference, id: 'x'.repeat(length) });
  const ask = async (event: (request: EventRequest) => object, length: number) =>
    httpResultOf(await served.invoke(event({ path: INFER_PATH, headers: authorized, body: withId(length) })));

  test.each(kinds)('becomes an error that says so: %s', async (name, event) => {
    const limit = name.startsWith('a load balancer') ? 1_000_000 : 6 * 1024 * 1024;
    expect((await ask(event, limit - 2_000)).statusCode).toBe(200);
    const answer = await ask(event, limit);
    expect(answer.statusCode).toBe(413);
    expect(JSON.parse(answer.body)).toEqual({
      error: expect.stringMatching(`^Expected an answer of at most ${limit} bytes`),
      code: 'PAYLOAD_TOO_LARGE',
    });
    expect(headersOf(answer)).toEqual({ 'content-type': 'application/json' });
  });
});

describe('a client that should ask again later', () => {
  test('is told when, at a full queue and before the models are loaded', async () => {
    const images = await imageServerForTest();
    const full = startFunction({ maxQueueSize: 1 });
    try {
      await full.environment.load();
      const waiting = full.environment.models[0]?.inferTensors({ inputs: { img_url: `${images.url}/held.png` } });
      await images.held(1);
      const refused = httpResultOf(await full.invoke(functionUrlEvent({ path: INFER_PATH, body: inference })));
      expect(refused).toMatchObject({ statusCode: 429, headers: { 'retry-after': '1' } });
      images.release();
      await waiting;
      const unloaded = startFunction();
      const early = httpResultOf(await unloaded.invoke(functionUrlEvent({ path: INFER_PATH, body: inference }), 1));
      expect(early).toMatchObject({ statusCode: 503, headers: { 'retry-after': '1' } });
      await unloaded.close();
    } finally {
      await full.close();
    }
  });
});
