import { describe, expect, test } from 'vitest';
import { type HttpEvent, httpResult, readHttpEvent, withoutPrefix } from '../../../handlers/aws-lambda/http-event.ts';
import {
  type EventRequest,
  functionUrlEvent,
  httpApiEvent,
  httpApiVersion1Event,
  loadBalancerEvent,
  loadBalancerMultiValueEvent,
  restApiEvent,
} from '../../support/lambda-events.ts';

const kinds: readonly (readonly [string, (request?: EventRequest) => HttpEvent])[] = [
  ['a REST API', (request) => ({ kind: 'api-gateway-v1', event: restApiEvent(request) })],
  ['an HTTP API with the old format', (request) => ({ kind: 'api-gateway-v1', event: httpApiVersion1Event(request) })],
  ['an HTTP API', (request) => ({ kind: 'api-gateway-v2', event: httpApiEvent(request) })],
  ['a stage of an HTTP API', (request) => ({ kind: 'api-gateway-v2', event: httpApiEvent(request, 'prod') })],
  ['a Function URL', (request) => ({ kind: 'api-gateway-v2', event: functionUrlEvent(request) })],
  ['a load balancer', (request) => ({ kind: 'alb', event: loadBalancerEvent(request) })],
  ['multi-value headers', (request) => ({ kind: 'alb', event: loadBalancerMultiValueEvent(request) })],
];

/** Header names in lower case, as routes see them; a list of one is that one. */
function headersOf(event: HttpEvent): Readonly<Record<string, unknown>> {
  const { headers } = readHttpEvent(event);
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), Array.isArray(value) ? value.join() : value]),
  );
}

describe.each(kinds)('a request from %s', (_name, event) => {
  test('has its method, path, query, headers and body', () => {
    const request = {
      method: 'PUT',
      path: '/v2/models/a',
      query: 'a=1%202&b=%26',
      headers: { 'X-Id': '7' },
      body: '{}',
    };
    expect(readHttpEvent(event(request))).toMatchObject({
      method: 'PUT',
      path: '/v2/models/a',
      body: Buffer.from('{}'),
    });
    const query = new URLSearchParams(readHttpEvent(event(request)).query);
    expect([...query]).toEqual([
      ['a', '1 2'],
      ['b', '&'],
    ]);
    expect(headersOf(event(request))).toMatchObject({ 'x-id': '7', 'content-type': 'application/json' });
  });

  test('may have no query, no body and the shortest path', () => {
    expect(readHttpEvent(event())).toMatchObject({ method: 'GET', path: '/', query: '', body: undefined });
  });

  test('has its body decoded', () => {
    const { body } = readHttpEvent(event({ body: { text: 'Größe ✓' }, base64: true }));
    expect(body?.toString('utf8')).toBe('{"text":"Größe ✓"}');
  });

  test('has no length, which was that of another body', () => {
    const headers = { 'Content-Length': '3', 'Transfer-Encoding': 'chunked' };
    expect(headersOf(event({ headers, body: '{}' }))).not.toHaveProperty('content-length');
    expect(headersOf(event({ headers, body: '{}' }))).not.toHaveProperty('transfer-encoding');
  });
});

/** An event with other keys, as JSON brings it: its type is what is looked at. */
function changed(http: HttpEvent, changes: object): HttpEvent {
  return { kind: http.kind, event: { ...http.event, ...changes } } as HttpEvent;
}

describe.each(kinds)('an event of %s with wrong values', (_name, event) => {
  test.each([
    [{ headers: 'x' }, 'headers to be object,null, got "x"'],
    [{ headers: { accept: 5 } }, 'headers.accept to be string,null, got 5'],
    [{ multiValueHeaders: { accept: '*/*' } }, 'multiValueHeaders.accept to be array,null, got "*/*"'],
    [{ queryStringParameters: { a: ['b'] } }, 'queryStringParameters.a to be string,null, got a list of 1'],
    [{ multiValueQueryStringParameters: ['a'] }, 'multiValueQueryStringParameters to be object,null, got a list of 1'],
    [{ multiValueQueryStringParameters: { a: 'b' } }, 'multiValueQueryStringParameters.a to be array,null, got "b"'],
    [{ multiValueQueryStringParameters: { a: [5] } }, 'multiValueQueryStringParameters.a[0] to be string, got 5'],
    [{ rawQueryString: {} }, 'rawQueryString to be string, got an object'],
    [{ cookies: 'a=1' }, 'cookies to be array, got "a=1"'],
    [{ body: 5 }, 'body to be string,null, got 5'],
    [{ isBase64Encoded: 'false' }, 'isBase64Encoded to be boolean, got "false"'],
    [{ requestContext: { http: {} } }, 'requestContext.http to have method, got none'],
    [{ requestContext: { http: { method: 5 } } }, 'requestContext.http.method to be string, got 5'],
    [{ requestContext: { identity: { sourceIp: 5 } } }, 'requestContext.identity.sourceIp to be string,null, got 5'],
    [{ requestContext: { apiId: 5 } }, 'requestContext.apiId to be string, got 5'],
    [{ requestContext: { stage: null } }, 'requestContext.stage to be string, got null'],
    [{ requestContext: { domainName: { toString: 1 } } }, 'requestContext.domainName to be string,null, got an object'],
  ])('%j is refused', (changes, wrong) => {
    const error = { code: 'INVALID_REQUEST', message: `Expected ${wrong}.` };
    expect(() => readHttpEvent(changed(event(), changes))).toThrow(expect.objectContaining(error));
  });
});

describe('particularities of a kind', () => {
  test('API Gateway takes cookies out of the headers, and has the address of the client', () => {
    const event = { ...httpApiEvent(), cookies: ['a=1', 'b=2'] };
    const request = readHttpEvent({ kind: 'api-gateway-v2', event });
    expect(request).toMatchObject({ headers: { cookie: 'a=1; b=2' }, clientAddress: '203.0.113.7' });
    expect(readHttpEvent({ kind: 'api-gateway-v1', event: restApiEvent() }).clientAddress).toBe('203.0.113.7');
  });

  test('the console of API Gateway tests with nulls', () => {
    const nothing = { headers: null, multiValueHeaders: null, multiValueQueryStringParameters: null, body: null };
    const event = { ...restApiEvent(), ...nothing } as unknown as ReturnType<typeof restApiEvent>; // Not in the types.
    expect(readHttpEvent({ kind: 'api-gateway-v1', event })).toMatchObject({ headers: {}, query: '', body: undefined });
  });

  test('a parameter that is repeated stays so', () => {
    for (const event of [restApiEvent, httpApiVersion1Event]) {
      const { query } = readHttpEvent({ kind: 'api-gateway-v1', event: event({ query: 'a=1&a=2' }) });
      expect(query).toBe('a=1&a=2');
    }
    const event = loadBalancerMultiValueEvent({ query: 'a=1&a=%26' });
    expect(readHttpEvent({ kind: 'alb', event }).query).toBe('a=1&a=%26');
  });

  test('a stage is taken from the path only where it was put', () => {
    const stage = 'v2';
    const event = httpApiEvent({ path: '/v2/models' }, stage);
    expect(event.rawPath).toBe('/v2/v2/models');
    expect(readHttpEvent({ kind: 'api-gateway-v2', event }).path).toBe('/v2/models');
    const domainName = 'captions.example.com';
    const custom = {
      ...event,
      rawPath: '/v2/models',
      requestContext: { ...event.requestContext, domainName, domainPrefix: 'captions' },
    };
    expect(readHttpEvent({ kind: 'api-gateway-v2', event: custom }).path).toBe('/v2/models');
    const rest = restApiEvent({ path: '/v2/models' });
    const staged = { ...rest, requestContext: { ...rest.requestContext, stage } };
    expect(readHttpEvent({ kind: 'api-gateway-v1', event: staged }).path).toBe('/v2/models');
  });

  test.each([
    ['/prod/v2', '/prod', '/v2'],
    ['/prod', '/prod', '/'],
    ['/production/v2', '/prod', '/production/v2'],
    ['/v2', '/prod', '/v2'],
    ['/v2', '', '/v2'],
  ])('%s without %s is %s', (path, prefix, rest) => {
    expect(withoutPrefix(path, prefix)).toBe(rest);
  });
});

describe('an answer', () => {
  const answer = { status: 404, headers: { 'content-type': 'application/json', allow: 'GET, HEAD' }, body: '{}' };

  test('to API Gateway and Function URLs', () => {
    const result = { statusCode: 404, headers: answer.headers, body: '{}', isBase64Encoded: false };
    expect(httpResult({ kind: 'api-gateway-v1', event: restApiEvent() }, answer)).toEqual(result);
    expect(httpResult({ kind: 'api-gateway-v2', event: httpApiEvent() }, answer)).toEqual(result);
  });

  test('to a load balancer has a description, and headers in the form that the request had', () => {
    const result = { statusCode: 404, statusDescription: '404 Not Found', body: '{}', isBase64Encoded: false };
    expect(httpResult({ kind: 'alb', event: loadBalancerEvent() }, answer)).toEqual({
      ...result,
      headers: answer.headers,
    });
    expect(httpResult({ kind: 'alb', event: loadBalancerMultiValueEvent() }, answer)).toEqual({
      ...result,
      multiValueHeaders: { 'content-type': ['application/json'], allow: ['GET, HEAD'] },
    });
  });
});
