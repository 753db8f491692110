import { describe, expect, test } from 'vitest';
import { isListed, isPublicAddress } from '../../../pipeline/images/address-guard.ts';
import { requireAllowed } from '../../../pipeline/images/image-fetch.ts';
import { type ImageOptions, loadImage } from '../../../pipeline/images/image-source.ts';
import { imageOptions } from '../../support/image-options.ts';
import { type Route, startServer } from '../../support/loopback-server.ts';
import { expectHandlerError, thrownBy } from '../../support/thrown.ts';

/** A server that must never be reached, and how often it was. */
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

describe('addresses', () => {
  test.each([
    '8.8.8.8',
    '1.1.1.1',
    '93.184.216.34',
    '2606:4700:4700::1111',
    '2a00:1450:4001:81b::200e',
    '::ffff:8.8.8.8',
  ])('%s is public', (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  test.each([
    ['loopback', ['127.0.0.1', '127.5.5.5', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '::7f00:1', '::127.0.0.1']],
    ['unspecified', ['0.0.0.0', '0.1.2.3', '::']],
    ['private', ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fd00::1', 'fc00::1', 'fec0::1']],
    ['link-local', ['169.254.0.1', 'fe80::1', 'fe80::1%eth0']],
    ['services of clouds', ['169.254.169.254', '169.254.170.2', '169.254.170.23', 'fd00:ec2::254', 'fd00:ec2::23']],
    ['services of clouds at public numbers', ['168.63.129.16', '100.100.100.200', 'fd20:ce::254']],
    ['shared, for benchmarks and documents', ['100.64.0.1', '198.18.0.1', '192.0.0.1', '192.0.2.1', '2001:db8::1']],
    [
      'reserved, multicast, broadcast',
      ['240.0.0.1', '224.0.0.1', '239.1.1.1', '255.255.255.255', 'ff02::1', '4000::1'],
    ],
    ['discard-only', ['100::1', '100:0:0:1::1']],
    ['IPv4 in 6to4, Teredo, NAT64', ['2002:7f00:1::', '2001:0:7f00:1::', '64:ff9b::7f00:1', '64:ff9b:1::7f00:1']],
    ['IPv4 in ISATAP', ['2606:4700:0:0:0:5efe:7f00:1', '2606:4700::200:5efe:a00:1', 'fe80::5efe:7f00:1']],
    ['nothing at all', ['', 'example.com', '1.2.3', '999.1.1.1', '127.0.0.1:80', '[::1]']],
  ])('%s: not public', (_, addresses) => {
    expect(addresses.filter(isPublicAddress)).toEqual([]);
  });
});

describe('lists of hosts', () => {
  test.each([
    ['example.com', ['example.com']],
    ['EXAMPLE.com.', ['example.com']],
    ['img.example.com', ['*.example.com']],
    ['a.b.example.com', ['other.org', '*.Example.COM']],
    ['anything', ['*']],
    ['[::1]', ['::1']],
  ])('%s is in %j', (host, names) => {
    expect(isListed(host, names)).toBe(true);
  });

  test.each([
    ['example.com', []],
    ['example.com', ['*.example.com']],
    ['notexample.com', ['example.com', '*.example.com']],
    ['example.com.evil.org', ['example.com', '*.example.com']],
    ['', ['example.com']],
  ])('%s is not in %j', (host, names) => {
    expect(isListed(host, names)).toBe(false);
  });
});

/** The tricks are in hostile-sources.test.ts; here names are looked up as the system does. */
describe('an image inside the network', () => {
  test.each(['127.0.0.1', 'localhost', 'LOCALHOST'])('is not fetched from %s', async (host) => {
    const target = await startTarget();
    await expectBlocked(`http://${host}:${target.port}/`);
    expect(target.hits()).toBe(0);
  });

  test('is fetched where its host is named, and only from there', async () => {
    const target = await startTarget();
    const refused = loadImage(`http://127.0.0.1:${target.port}/`, { ...imageOptions, privateHosts: ['127.0.0.1'] });
    await expectHandlerError(refused, 'IMAGE_UNSUPPORTED'); // It was fetched: its text is no image.
    expect(target.hits()).toBe(1);
    await expectBlocked(`http://127.0.0.2:${target.port}/`, { privateHosts: ['127.0.0.1'] });
    await expectBlocked(`http://127.0.0.1:${target.port}/`); // Though a connection to it is open.
    expect(target.hits()).toBe(1);
  });

  test('is fetched by a name that is listed', async () => {
    const target = await startTarget();
    const refused = loadImage(`http://localhost:${target.port}/`, { ...imageOptions, privateHosts: ['localhost'] });
    await expectHandlerError(refused, 'IMAGE_UNSUPPORTED');
  });
});

describe('what else a service may refuse', () => {
  test('hosts that are not on its list, redirects included', async () => {
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

  test('http', async () => {
    const target = await startTarget();
    await expectBlocked(`http://127.0.0.1:${target.port}/`, { httpsOnly: true, privateHosts: ['*'] });
    expect(target.hits()).toBe(0);
  });

  test('http after https, at any hop', () => {
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

  test('credentials in a URL are not sent on', async () => {
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
});
