import { STATUS_CODES } from 'node:http';
import type {
  ALBEvent,
  ALBResult,
  APIGatewayProxyEvent,
  APIGatewayProxyEventV2,
  APIGatewayProxyResult,
  APIGatewayProxyStructuredResultV2,
} from 'aws-lambda';
import { compile, nullableText } from '../../protocol/validation.ts';
import { isTransferHeader } from './transfer-headers.ts';

/** An HTTP request, whichever service passed it on. */
export interface HttpRequest {
  readonly method: string;
  /** Without the stage of an API Gateway. */
  readonly path: string;
  /** As in a URL, percent-encoded, without the question mark. */
  readonly query: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body: Buffer | undefined;
  readonly clientAddress: string | undefined;
}

/** The answer to an HTTP request. Its body is text, or bytes where it has binary tensors. */
export interface EventAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
}

/** An event of one of the HTTP kinds. */
export type HttpEvent =
  | { readonly kind: 'api-gateway-v1'; readonly event: APIGatewayProxyEvent }
  | { readonly kind: 'api-gateway-v2'; readonly event: APIGatewayProxyEventV2 }
  | { readonly kind: 'alb'; readonly event: ALBEvent };

type HttpResult = APIGatewayProxyResult | APIGatewayProxyStructuredResultV2 | ALBResult;

const texts = { type: ['object', 'null'], additionalProperties: nullableText };
const lists = {
  type: ['object', 'null'],
  additionalProperties: { type: ['array', 'null'], items: { type: 'string' } },
};

/** Checks the fields that are read here. Only events that are written by hand fail, in the console or for Invoke. */
const checkEvent = compile<HttpEvent['event']>(
  {
    type: 'object',
    properties: {
      headers: texts,
      multiValueHeaders: lists,
      queryStringParameters: texts,
      multiValueQueryStringParameters: lists,
      rawQueryString: { type: 'string' },
      cookies: { type: 'array', items: { type: 'string' } },
      body: nullableText,
      isBase64Encoded: { type: 'boolean' },
      requestContext: {
        type: 'object',
        properties: {
          http: {
            type: 'object',
            required: ['method'],
            properties: { method: { type: 'string' }, sourceIp: nullableText },
          },
          identity: { type: ['object', 'null'], properties: { sourceIp: nullableText } },
          stage: { type: 'string' },
          apiId: { type: 'string' },
          domainName: nullableText,
        },
      },
    },
  },
  'INVALID_REQUEST',
);

/**
 * Reads the request that an event passes on.
 * Sources: AWS documentation, the pages that event-kind.ts names.
 * @throws HandlerError `INVALID_REQUEST` when the event differs from those that AWS sends.
 */
export function readHttpEvent(http: HttpEvent): HttpRequest {
  checkEvent(http.event);
  switch (http.kind) {
    case 'api-gateway-v1':
      return readVersion1(http.event);
    case 'api-gateway-v2':
      return readVersion2(http.event);
    case 'alb':
      return readLoadBalancer(http.event);
  }
}

/** The answer in the form that API Gateway, a Function URL or a load balancer turns into an HTTP response. */
export function httpResult({ kind, event }: HttpEvent, { status, headers, body }: EventAnswer): HttpResult {
  const isBase64Encoded = typeof body !== 'string';
  const result = {
    statusCode: status,
    headers,
    body: typeof body === 'string' ? body : body.toString('base64'),
    isBase64Encoded,
  };
  if (kind !== 'alb') return result;
  const statusDescription = `${status} ${STATUS_CODES[status] ?? ''}`.trim();
  if (event.multiValueHeaders === undefined) return { ...result, statusDescription };
  // A target group with multi-value headers reads only these.
  const { headers: _single, ...others } = result;
  const multiValueHeaders = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
  return { ...others, statusDescription, multiValueHeaders };
}

function readVersion1(event: APIGatewayProxyEvent): HttpRequest {
  const { httpMethod: method, path, requestContext, multiValueQueryStringParameters: parameters } = event;
  return {
    method,
    // An HTTP API that sends the old format adds `version`, and leaves the stage in the path.
    path: 'version' in event ? withoutStage(path, requestContext) : path,
    query: new URLSearchParams(pairsOf(parameters ?? {})).toString(),
    headers: requestHeaders(event.multiValueHeaders ?? event.headers),
    body: requestBody(event),
    clientAddress: requestContext.identity?.sourceIp,
  };
}

function readVersion2(event: APIGatewayProxyEventV2): HttpRequest {
  const { requestContext, rawPath, rawQueryString = '', cookies = [] } = event;
  return {
    method: requestContext.http.method,
    path: withoutStage(rawPath, requestContext),
    query: rawQueryString,
    headers: {
      ...requestHeaders(event.headers),
      ...(cookies.length === 0 ? {} : { cookie: cookies.join('; ') }),
    },
    body: requestBody(event),
    clientAddress: requestContext.http.sourceIp,
  };
}

function readLoadBalancer(event: ALBEvent): HttpRequest {
  const { queryStringParameters, multiValueQueryStringParameters: parameters } = event;
  const pairs = parameters === undefined ? present(queryStringParameters ?? {}) : pairsOf(parameters);
  return {
    method: event.httpMethod,
    path: event.path,
    query: pairs.map(([name, value]) => `${name}=${value}`).join('&'), // Still percent-encoded, unlike elsewhere.
    headers: requestHeaders(event.multiValueHeaders ?? event.headers),
    body: requestBody(event),
    clientAddress: undefined,
  };
}

/**
 * Removes the stage of an HTTP API. It is in the path under the API's own host name only: under a custom domain, a path of
 * ours may begin with the same word.
 */
function withoutStage(
  path: string,
  { stage, apiId, domainName = '' }: { readonly stage: string; readonly apiId: string; readonly domainName?: unknown },
): string {
  const isOwnHost = String(domainName).startsWith(apiId);
  return stage !== '$default' && isOwnHost ? withoutPrefix(path, `/${stage}`) : path;
}

/** A path without its leading segments; a path with other leading segments stays as it is. */
export function withoutPrefix(path: string, prefix: string): string {
  if (path === prefix) return '/';
  return path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path;
}

function requestHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>> | null | undefined,
): HttpRequest['headers'] {
  return Object.fromEntries(present(headers ?? {}).filter(([name]) => !isTransferHeader(name)));
}

function requestBody(event: { readonly body?: string | null; readonly isBase64Encoded: boolean }): Buffer | undefined {
  if (event.body === undefined || event.body === null || event.body === '') return undefined;
  return Buffer.from(event.body, event.isBase64Encoded ? 'base64' : 'utf8');
}

function pairsOf(parameters: Readonly<Record<string, string[] | undefined>>): [string, string][] {
  return present(parameters).flatMap(([name, values]) => values.map((value): [string, string] => [name, value]));
}

function present<T>(record: Readonly<Record<string, T | null | undefined>>): readonly (readonly [string, T])[] {
  return Object.entries(record).flatMap(([name, value]) =>
    value === undefined || value === null ? [] : [[name, value] as const],
  );
}
