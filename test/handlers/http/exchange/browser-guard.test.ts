import { once } from 'node:events';
import { existsSync } from 'node:fs';
import http, { type OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chromium } from 'playwright-core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { readServerSettings } from '../../../../handlers/service/server-settings.ts';
import { httpResultOf, startFunction } from '../../../support/lambda.ts';
import { functionUrlEvent } from '../../../support/lambda-events.ts';
import { expectError, type HttpAnswer, postInference, send } from '../../../support/server.ts';
import { serverForTest, withServer } from '../../../support/with-server.ts';

const EVIL = 'https://evil.example';
const FRIEND = 'https://friend.example';
const generate = '/v2/models/captioning/generate';

const ask = (url: string, headers: OutgoingHttpHeaders, path = '/v2/models', method = 'GET'): Promise<HttpAnswer> =>
  send(url, { method, path, headers, ...(method === 'GET' ? {} : { body: '{}' }) });

const preflight = (origin: string): Record<string, string> => ({
  origin,
  'access-control-request-method': 'POST',
  'access-control-request-headers': 'authorization,content-type',
});

describe('a server without tokens', () => {
  const server = withServer({}, { initialize: false });
  const hostOf = () => new URL(server.url).host;

  test.each(['localhost', 'LOCALHOST:8080', 'localhost.', 'a.localhost', '127.0.0.1:1', '127.8.8.8', '[::1]:8080'])(
    'answers requests to its machine: %s',
    async (host) => expect((await ask(server.url, { host })).status).toBe(200),
  );

  test.each([
    'evil.example',
    'evil.example:8080',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'localhost@evil.example',
    'evil.example#localhost',
    '127.evil',
    '10.0.0.1',
    '[::2]',
    '[::ffff:10.0.0.1]',
    ':8080',
  ])('refuses requests to another host, as DNS rebinding makes them: %j', async (host) => {
    expectError(await ask(server.url, { host }), 403, 'FORBIDDEN');
    expectError(await ask(server.url, { host }, generate, 'POST'), 403, 'FORBIDDEN');
    expectError(await ask(server.url, { host }, '/nothing'), 403, 'FORBIDDEN');
  });

  test.each([
    '/v2/health/live',
    '/v2/health/ready',
    '/v2/models/captioning/ready',
    '/livez',
    '/healthz',
    '/readyz',
    '/health',
    '/health-check',
    '/v1/models/captioning',
  ])('answers probes under any host: %s', async (path) => {
    const { status } = await ask(server.url, { host: '10.1.2.3:8080' }, path);
    expect([200, 503]).toContain(status);
  });

  test.each<[string, OutgoingHttpHeaders]>([
    ['a page of another site', { origin: EVIL }],
    ['an old browser', { origin: EVIL, 'content-type': 'text/plain' }],
    ['a form', { origin: EVIL, 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-mode': 'navigate' }],
    ['a page of another port', { origin: 'http://localhost:3000', 'sec-fetch-site': 'same-site' }],
    ['a file or a sandbox', { origin: 'null' }],
    ['an extension', { origin: 'chrome-extension://abcdefgh' }],
    ['a picture or a script', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }],
    ['an origin that is none', { origin: 'localhost' }],
    ['its own host in another scheme', { origin: `ftp://${EVIL}` }],
  ])('refuses %s, whatever it asks', async (_title, headers) => {
    expectError(await ask(server.url, headers), 403, 'FORBIDDEN');
    expectError(await ask(server.url, headers, generate, 'POST'), 403, 'FORBIDDEN');
    expectError(await ask(server.url, headers, '/cancel/1', 'POST'), 403, 'FORBIDDEN');
    const answer = await send(server.url, {
      method: 'OPTIONS',
      path: generate,
      headers: { ...preflight(EVIL), ...headers },
    });
    expectError(answer, 403, 'FORBIDDEN');
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  });

  test('refuses forms and frames that navigate to it; answers links', async () => {
    const navigation = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', accept: 'text/html' };
    const link = { ...navigation, 'sec-fetch-dest': 'document' };
    expect((await ask(server.url, link, '/')).status).toBe(200);
    expectError(await ask(server.url, link, generate, 'POST'), 403, 'FORBIDDEN');
    expectError(await ask(server.url, { ...navigation, 'sec-fetch-dest': 'iframe' }, '/'), 403, 'FORBIDDEN');
  });

  test('answers its own page, programs, and addresses that a person types', async () => {
    const own = { origin: `http://${hostOf()}` };
    for (const headers of [{}, own, { ...own, 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }])
      expect((await ask(server.url, headers)).status).toBe(200);
    expectError(await ask(server.url, own, generate, 'POST'), 503, 'NOT_READY');
  });
});

describe('hosts and origins that are listed', () => {
  const server = withServer(
    { allowedHosts: ['blip.internal', '10.0.0.1'], allowedOrigins: [FRIEND, 'null'] },
    { initialize: false },
  );

  test('hosts are answered, others are not', async () => {
    for (const host of ['blip.internal', 'BLIP.internal:9', '10.0.0.1:8080', 'localhost'])
      expect((await ask(server.url, { host })).status).toBe(200);
    for (const host of ['a.blip.internal', '10.0.0.2']) expectError(await ask(server.url, { host }), 403, 'FORBIDDEN');
  });

  test('origins are answered, with errors that their pages can read', async () => {
    const answer = await ask(server.url, { origin: FRIEND, 'sec-fetch-site': 'cross-site' });
    expect(answer).toMatchObject({ status: 200, headers: { 'access-control-allow-origin': FRIEND, vary: 'origin' } });
    const failed = await ask(server.url, { origin: FRIEND }, generate, 'POST');
    expectError(failed, 503, 'NOT_READY');
    expect(failed.headers['access-control-allow-origin']).toBe(FRIEND);
    expect((await ask(server.url, { origin: 'null' })).headers['access-control-allow-origin']).toBe('null');
  });

  test('preflights are answered for paths of any method', async () => {
    const headers = { ...preflight(FRIEND), 'access-control-request-private-network': 'true' };
    const answer = await send(server.url, { method: 'OPTIONS', path: generate, headers });
    expect(answer).toMatchObject({
      status: 204,
      text: '',
      headers: {
        'access-control-allow-origin': FRIEND,
        'access-control-allow-methods': expect.stringContaining('POST'),
        'access-control-allow-headers': expect.stringContaining('authorization'),
        'access-control-allow-private-network': 'true',
        vary: 'origin',
      },
    });
  });

  test('other origins are refused still', async () => {
    for (const origin of [EVIL, `${FRIEND}.evil.example`, 'http://friend.example', `${FRIEND}:444`]) {
      const answer = await ask(server.url, { origin });
      expectError(answer, 403, 'FORBIDDEN');
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    }
  });

  test('`*` allows all hosts and origins', async () => {
    const open = await serverForTest({ allowedHosts: ['*'], allowedOrigins: ['*'] }, { initialize: false });
    const headers = { host: 'evil.example', origin: EVIL, 'sec-fetch-site': 'cross-site' };
    expect(await ask(open.url, headers)).toMatchObject({
      status: 200,
      headers: { 'access-control-allow-origin': EVIL },
    });
  });
});

describe('a server with tokens', () => {
  test('answers under any host, and sends pages nothing that lets them read', async () => {
    const server = await serverForTest({ apiTokens: ['secret'] }, { initialize: false });
    const answer = await ask(server.url, { host: 'evil.example', origin: EVIL, 'sec-fetch-site': 'cross-site' });
    expect(answer.status).toBe(200);
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    expectError(await ask(server.url, { origin: EVIL }, generate, 'POST'), 401, 'UNAUTHORIZED');
    const refused = await send(server.url, { method: 'OPTIONS', path: generate, headers: preflight(EVIL) });
    expectError(refused, 405, 'METHOD_NOT_ALLOWED');
  });

  test('answers preflights of listed origins without a token', async () => {
    const server = await serverForTest({ apiTokens: ['secret'], allowedOrigins: [FRIEND] }, { initialize: false });
    const answer = await send(server.url, { method: 'OPTIONS', path: generate, headers: preflight(FRIEND) });
    expect(answer).toMatchObject({ status: 204, headers: { 'access-control-allow-origin': FRIEND } });
    const unauthorized = await postInference(server.url, '{}', { headers: { origin: FRIEND } });
    expectError(unauthorized, 401, 'UNAUTHORIZED');
    expect(unauthorized.headers['access-control-allow-origin']).toBe(FRIEND);
  });
});

describe('platforms that keep strangers out', () => {
  test('Vertex AI asks under names of its own', async () => {
    const settings = readServerSettings({ AIP_HTTP_PORT: '8080', BLIP_VERTEX_AUTHORIZER: 'platform' });
    const { vertexPort, vertexAuthorizer } = settings;
    const server = await serverForTest({ vertexPort, vertexAuthorizer }, { initialize: false });
    expect((await ask(server.url, { host: 'aip.internal' })).status).toBe(200);
  });

  test('any other asks under names of its own, and probes by the address of a pod', async () => {
    const server = await serverForTest({ authorizer: 'platform' });
    for (const host of ['10.244.0.7:8080', 'blip.default.svc.cluster.local', 'service-abc.run.app'])
      for (const path of ['/v2/health/ready', '/v2/health/live', '/readyz', '/v2/models'])
        expect([host, path, (await ask(server.url, { host }, path)).status]).toEqual([host, path, 200]);
  });

  test('a server without tokens answers probes by the address of a pod, and nothing else', async () => {
    const server = await serverForTest();
    const headers = { host: '10.244.0.7:8080' };
    for (const path of ['/v2/health/ready', '/v2/health/live', '/readyz', '/livez', '/health'])
      expect([path, (await ask(server.url, headers, path)).status]).toEqual([path, 200]);
    expectError(await ask(server.url, headers, '/v2/models'), 403, 'FORBIDDEN');
  });

  test('AWS Lambda hands on requests to the name of the function, and preflights', async () => {
    const lambda = startFunction({ allowedOrigins: [FRIEND] });
    onTestFinished(() => lambda.close());
    const headers = { host: 'abc.lambda-url.eu-west-1.on.aws', origin: EVIL, 'sec-fetch-site': 'cross-site' };
    const event = functionUrlEvent({ method: 'GET', path: '/v2/models', headers });
    expect(httpResultOf(await lambda.invoke(event)).statusCode).toBe(200);
    const asked = functionUrlEvent({ method: 'OPTIONS', path: generate, headers: { ...preflight(FRIEND) } });
    expect(httpResultOf(await lambda.invoke(asked))).toMatchObject({
      statusCode: 204,
      headers: { 'access-control-allow-origin': FRIEND },
    });
  });
});

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const isWanted = existsSync(executablePath) || process.env['CI'] === 'true';

/** An empty page of another origin. */
async function startPage(): Promise<string> {
  const server = http.createServer((_request, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>another page</title>'),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test.skipIf(!isWanted)('a browser: pages of listed origins read answers, others do not', async () => {
  const page = await startPage();
  const [closed, open] = [
    await serverForTest({}, { initialize: false }),
    await serverForTest({ apiTokens: ['secret'], allowedOrigins: [page] }, { initialize: false }),
  ];
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  onTestFinished(async () => await browser.close());
  const tab = await browser.newPage();
  await tab.goto(page);
  const fetchFrom = (url: string) =>
    tab.evaluate(`fetch('${url}/v2/models/captioning/generate', {
      method: 'POST', headers: { authorization: 'Bearer secret', 'content-type': 'application/json' }, body: '{}',
    }).then((answer) => answer.json(), () => 'refused')`);
  expect(await fetchFrom(open.url)).toMatchObject({ code: 'NOT_READY' });
  expect(await fetchFrom(closed.url)).toBe('refused');
  const simple = `fetch('${closed.url}/v2/models', { mode: 'no-cors' }).then(({ type }) => type)`;
  expect(await tab.evaluate(simple)).toBe('opaque');
  await tab.goto(closed.url);
  expect(await tab.evaluate(`fetch('/v2/models').then((answer) => answer.json())`)).toEqual({ models: [] });
});
