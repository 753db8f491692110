import { describe, expect, test } from 'vitest';
import { requireAllowed } from '../../../pipeline/images/image-fetch.ts';
import { type ImageOptions, loadImage } from '../../../pipeline/images/image-source.ts';
import { imageOptions } from '../../support/image-options.ts';
import { type Route, startServer } from '../../support/loopback-server.ts';
import { expectHandlerError, thrownBy } from '../../support/thrown.ts';

/** A server that must never be reached. It counts requests. */
async function startTarget() {
  let hits = 0;
  const route: Route = (response) => {
    hits += 1;
    response.end('secret');
  };
  const origin = await startServer({ '/': route });
  return { port: new URL(origin).port, hits: () => hits };
}

async function expectBlocked(source: string, changes: Partial<ImageOptions> = {}): Promise<void> {
  const { message } = await expectHandlerError(
    loadImage(source, { ...imageOptions, ...changes }),
    'IMAGE_SOURCE_BLOCKED',
  );
  expect(message).toMatch(/^Expected the URL of a host that images may come from, got /);
  expect(message).not.toMatch(/\d+\.\d+\.\d+|localhost|::|secret/);
}

/** The system looks up names here. hostile-sources.test.ts has names that deceive. */
describe('an image inside the network', () => {
  test.each(['127.0.0.1', 'localhost', 'LOCALHOST'])('is not fetched from %s', async (host) => {
    const target = await startTarget();
    await expectBlocked(`http://${host}:${target.port}/`);
    expect(target.hits()).toBe(0);
  });

  test('is fetched from a private host that the settings name, and from no other', async () => {
    const target = await startTarget();
    const refused = loadImage(`http://127.0.0.1:${target.port}/`, { ...imageOptions, privateHosts: ['127.0.0.1'] });
    await expectHandlerError(refused, 'IMAGE_UNSUPPORTED'); // The server was asked, and its text is no image.
    expect(target.hits()).toBe(1);
    await expectBlocked(`http://127.0.0.2:${target.port}/`, { privateHosts: ['127.0.0.1'] });
    await expectBlocked(`http://127.0.0.1:${target.port}/`); // A connection to it is open, but under other settings.
    expect(target.hits()).toBe(1);
  });

  test('is fetched where the settings name its host by name', async () => {
    const target = await startTarget();
    const refused = loadImage(`http://localhost:${target.port}/`, { ...imageOptions, privateHosts: ['localhost'] });
    await expectHandlerError(refused, 'IMAGE_UNSUPPORTED');
  });
});

describe('a service refuses', () => {
  test('hosts that are not on its list, also in redirects', async () => {
    const changes = { privateHosts: ['*'], allowedHosts: ['127.0.0.1'] };
    const target = await startTarget();
    await expectBlocked('http://example.com/cat.png', changes);
    const location = `http://127.0.0.2:${target.port}/`;
    const origin = await startServer({ '/': (response) => response.writeHead(302, { location }).end() });
    await expectBlocked(`${origin}/`, changes);
    await expectHandlerError(
      loadImage(`http://127.0.0.1:${target.port}/`, { ...imageOptions, ...changes }),
      'IMAGE_UNSUPPORTED',
    );
    expect(target.hits()).toBe(1);
  });

  test('http, where only https is allowed', async () => {
    const target = await startTarget();
    await expectBlocked(`http://127.0.0.1:${target.port}/`, { httpsOnly: true, privateHosts: ['*'] });
    expect(target.hits()).toBe(0);
  });

  test('a redirect from https to http, at any hop', () => {
    const [plain, secure] = [new URL('http://example.com/a'), new URL('https://example.com/b')];
    expect(thrownBy(() => requireAllowed(plain, secure, imageOptions))).toMatchObject({
      code: 'IMAGE_SOURCE_BLOCKED',
      message: expect.stringMatching(/got an https URL redirected to http/),
    });
    for (const [url, previous] of [
      [secure, plain],
      [plain, plain],
      [secure, secure],
    ] as const)
      expect(() => requireAllowed(url, previous, imageOptions)).not.toThrow();
  });
});

test('credentials in a URL are not sent', async () => {
  const headers: unknown[] = [];
  const origin = await startServer({
    '/': (response, request) => {
      headers.push(request.headers.authorization);
      response.end('text');
    },
  });
  const source = origin.replace('http://', 'http://name:word@');
  await expectHandlerError(loadImage(source, { ...imageOptions, privateHosts: ['*'] }), 'IMAGE_UNSUPPORTED');
  expect(headers).toEqual([undefined]);
});
