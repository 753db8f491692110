import type {
  ALBEvent,
  APIGatewayProxyEvent,
  APIGatewayProxyEventV2,
  Context,
  SQSEvent,
  SQSRecord,
  SQSRecordAttributes,
} from 'aws-lambda';

/** Events as AWS documents them, with everything in them, and the context that comes along. */

const ACCOUNT = '123456789012';
const REGION = 'us-east-1';
const USER_AGENT = 'Mozilla/5.0 (X11; Linux x86_64)';
const CLIENT = '203.0.113.7';

export interface EventRequest {
  readonly method?: string;
  readonly path?: string;
  /** Percent-encoded, without the question mark. */
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Objects are sent as JSON. */
  readonly body?: string | object;
  /** Has the body come as base64, as it does for content types that are not text. */
  readonly base64?: boolean;
}

/** The invocation's context; only the time is looked at. */
export function lambdaContext(remainingMs = 30_000): Context {
  const endMs = performance.now() + remainingMs;
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: 'captions',
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:${REGION}:${ACCOUNT}:function:captions`,
    memoryLimitInMB: '3008',
    awsRequestId: 'c6af9ac6-7b61-11e6-9a41-93e8deadbeef',
    logGroupName: '/aws/lambda/captions',
    logStreamName: '2026/11/21/[$LATEST]f7f1c3a8e9c54c6f9c8d4a2b0d1e2f30',
    getRemainingTimeInMillis: () => Math.round(endMs - performance.now()),
    done: () => undefined,
    fail: () => undefined,
    succeed: () => undefined,
  };
}

/** REST APIs. Source: AWS documentation, "Input format of a Lambda function for proxy integration". */
export function restApiEvent(request: EventRequest = {}): APIGatewayProxyEvent {
  const { method, path, query, headers } = filled(request);
  const single = { Accept: '*/*', Host: 'a1b2c3d4e5.execute-api.us-east-1.amazonaws.com', ...headers };
  const parameters = new URLSearchParams(query);
  const names = [...new Set(parameters.keys())];
  return {
    resource: '/{proxy+}',
    path,
    httpMethod: method,
    headers: single,
    multiValueHeaders: Object.fromEntries(Object.entries(single).map(([name, value]) => [name, [value]])),
    queryStringParameters:
      names.length === 0 ? null : Object.fromEntries(names.map((name) => [name, parameters.getAll(name).at(-1)])),
    multiValueQueryStringParameters:
      names.length === 0 ? null : Object.fromEntries(names.map((name) => [name, parameters.getAll(name)])),
    pathParameters: { proxy: path.slice(1) },
    stageVariables: null,
    requestContext: {
      accountId: ACCOUNT,
      apiId: 'a1b2c3d4e5',
      authorizer: null,
      domainName: 'a1b2c3d4e5.execute-api.us-east-1.amazonaws.com',
      domainPrefix: 'a1b2c3d4e5',
      extendedRequestId: 'JJbxmFZKvHcFqgA=',
      httpMethod: method,
      identity: {
        accessKey: null,
        accountId: null,
        apiKey: null,
        apiKeyId: null,
        caller: null,
        clientCert: null,
        cognitoAuthenticationProvider: null,
        cognitoAuthenticationType: null,
        cognitoIdentityId: null,
        cognitoIdentityPoolId: null,
        principalOrgId: null,
        sourceIp: CLIENT,
        user: null,
        userAgent: USER_AGENT,
        userArn: null,
      },
      path: `/prod${path}`,
      protocol: 'HTTP/1.1',
      requestId: 'a1e2d3c4-0000-4b5a-9c8d-7e6f5a4b3c2d',
      requestTime: '21/Nov/2026:10:00:00 +0000',
      requestTimeEpoch: 1_795_255_200_000,
      resourceId: '123456',
      resourcePath: '/{proxy+}',
      stage: 'prod',
    },
    ...bodyNull(request),
  };
}

/** HTTP APIs that are set to send the old format: the stage is in the path, and there is a version. */
export function httpApiVersion1Event(
  request: EventRequest = {},
  stage = 'prod',
): APIGatewayProxyEvent & { readonly version: string } {
  const event = restApiEvent(request);
  const path = `/${stage}${event.path}`;
  return { version: '1.0', ...event, path, requestContext: { ...event.requestContext, path, stage } };
}

/** HTTP APIs. Source: AWS documentation, "Create AWS Lambda proxy integrations for HTTP APIs", payload format 2.0. */
export function httpApiEvent(request: EventRequest = {}, stage = '$default'): APIGatewayProxyEventV2 {
  const { method, path, query, headers } = filled(request);
  const rawPath = stage === '$default' ? path : `/${stage}${path}`;
  const parameters = new URLSearchParams(query);
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString: query,
    headers: {
      accept: '*/*',
      host: 'f6g7h8i9j0.execute-api.us-east-1.amazonaws.com',
      'user-agent': USER_AGENT,
      'x-amzn-trace-id': 'Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e',
      'x-forwarded-for': CLIENT,
      ...lowerCase(headers),
    },
    ...(query === ''
      ? {}
      : {
          queryStringParameters: Object.fromEntries(
            [...new Set(parameters.keys())].map((name) => [name, parameters.getAll(name).join(',')]),
          ),
        }),
    requestContext: {
      accountId: ACCOUNT,
      apiId: 'f6g7h8i9j0',
      domainName: 'f6g7h8i9j0.execute-api.us-east-1.amazonaws.com',
      domainPrefix: 'f6g7h8i9j0',
      http: { method, path: rawPath, protocol: 'HTTP/1.1', sourceIp: CLIENT, userAgent: USER_AGENT },
      requestId: 'JKJaXmPLvHcESHA=',
      routeKey: '$default',
      stage,
      time: '21/Nov/2026:10:00:00 +0000',
      timeEpoch: 1_795_255_200_000,
    },
    ...bodyAbsent(request),
  };
}

/** Source: AWS documentation, "Invoking Lambda function URLs". */
export function functionUrlEvent(request: EventRequest = {}): APIGatewayProxyEventV2 {
  const event = httpApiEvent(request);
  const domainPrefix = 'abcdefghijklmnopqrstuvwxyz012345';
  const domainName = `${domainPrefix}.lambda-url.${REGION}.on.aws`;
  return {
    ...event,
    headers: { ...event.headers, host: domainName },
    requestContext: { ...event.requestContext, accountId: 'anonymous', apiId: domainPrefix, domainName, domainPrefix },
  };
}

/** Source: AWS documentation, "Use Lambda functions as targets of an Application Load Balancer". */
export function loadBalancerEvent(request: EventRequest = {}): ALBEvent {
  const { method, path, query, headers } = filled(request);
  return {
    requestContext: loadBalancerContext,
    httpMethod: method,
    path,
    queryStringParameters: Object.fromEntries(rawPairs(query)),
    headers: { ...loadBalancerHeaders, ...lowerCase(headers) },
    ...bodyEmpty(request),
  };
}

/** The event of a target group with multi-value headers. */
export function loadBalancerMultiValueEvent(request: EventRequest = {}): ALBEvent {
  const { method, path, query, headers } = filled(request);
  const pairs = rawPairs(query);
  const all = Object.entries({ ...loadBalancerHeaders, ...lowerCase(headers) });
  return {
    requestContext: loadBalancerContext,
    httpMethod: method,
    path,
    multiValueQueryStringParameters: Object.fromEntries(
      pairs.map(([name]) => [name, pairs.filter(([other]) => other === name).map(([, value]) => value)]),
    ),
    multiValueHeaders: Object.fromEntries(all.map(([name, value]) => [name, [value]])),
    ...bodyEmpty(request),
  };
}

const loadBalancerContext = {
  elb: {
    targetGroupArn: `arn:aws:elasticloadbalancing:${REGION}:${ACCOUNT}:targetgroup/captions/6d0ecf831eec9f09`,
  },
};

const loadBalancerHeaders = {
  accept: '*/*',
  host: 'captions-846800462.us-east-1.elb.amazonaws.com',
  'user-agent': USER_AGENT,
  'x-amzn-trace-id': 'Root=1-5bdb40ca-556d8b0c50dc66f0511bf520',
  'x-forwarded-for': CLIENT,
  'x-forwarded-port': '443',
  'x-forwarded-proto': 'https',
};

/** A batch of messages: bodies by their message ids. Source: AWS documentation, "Using Lambda with Amazon SQS". */
export function sqsEvent(
  bodies: Readonly<Record<string, string | object>>,
  attributes: Partial<SQSRecordAttributes> = {},
): SQSEvent {
  return { Records: Object.entries(bodies).map(([messageId, body]) => sqsRecord(messageId, body, attributes)) };
}

/** A message of a FIFO queue where it has a group. */
export function sqsRecord(
  messageId: string,
  body: string | object,
  attributes: Partial<SQSRecordAttributes> = {},
): SQSRecord {
  const queue = attributes.MessageGroupId === undefined ? 'captions' : 'captions.fifo';
  return {
    messageId,
    receiptHandle: 'AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '1795255200000',
      SenderId: 'AIDAIENQZJOLO23YVJ4VO',
      ApproximateFirstReceiveTimestamp: '1795255200001',
      ...attributes,
    },
    messageAttributes: {},
    md5OfBody: 'e4e68fb7bd0e697a0ae8f1bb342846b3',
    eventSource: 'aws:sqs',
    eventSourceARN: `arn:aws:sqs:${REGION}:${ACCOUNT}:${queue}`,
    awsRegion: REGION,
  };
}

function filled(request: EventRequest): Required<Pick<EventRequest, 'method' | 'path' | 'query' | 'headers'>> {
  return {
    method: request.method ?? (request.body === undefined ? 'GET' : 'POST'),
    path: request.path ?? '/',
    query: request.query ?? '',
    headers: { ...(request.body === undefined ? {} : { 'Content-Type': 'application/json' }), ...request.headers },
  };
}

function lowerCase(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

/** A load balancer leaves names and values as they are in the URL. */
function rawPairs(query: string): readonly (readonly [string, string])[] {
  return query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => [pair.split('=')[0] ?? '', pair.split('=')[1] ?? '']);
}

function textOf({ body, base64 = false }: EventRequest): string | undefined {
  if (body === undefined) return undefined;
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return base64 ? Buffer.from(text).toString('base64') : text;
}

function bodyNull(request: EventRequest) {
  return { body: textOf(request) ?? null, isBase64Encoded: request.base64 ?? false };
}

function bodyAbsent(request: EventRequest) {
  const body = textOf(request);
  return { ...(body === undefined ? {} : { body }), isBase64Encoded: request.base64 ?? false };
}

function bodyEmpty(request: EventRequest) {
  return { body: textOf(request) ?? '', isBase64Encoded: request.base64 ?? false };
}
