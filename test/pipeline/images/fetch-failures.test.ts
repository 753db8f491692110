import { readFileSync } from 'node:fs';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { LookupAll } from '../../../network/address-guard.ts';
import { hostPhrase, writtenHost } from '../../../pipeline/images/fetch-failures.ts';
import { type ImageOptions, loadImage } from '../../../pipeline/images/image-source.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { makeCertificates } from '../../support/certificates.ts';
import { imagePath } from '../../support/goldens.ts';
import { imageOptions } from '../../support/image-options.ts';
import { startRawServer } from '../../support/raw-server.ts';

/** Names under `.here` are this machine, those under `.inside` are of its network, and others are unknown. */
const lookupAll: LookupAll = (host, _options, callback) => {
  const address = /\.?here$/.test(host) ? '127.0.0.1' : /\.?inside$/.test(host) ? '10.0.0.7' : undefined;
  if (address !== undefined) callback(null, [{ address, family: 4 }]);
  else if (host.startsWith('dead')) callback(Object.assign(new Error(), { code: 'EAI_AGAIN' }), []);
  else callback(Object.assign(new Error(), { code: 'ENOTFOUND' }), []);
};

const options: ImageOptions = { ...imageOptions, lookupAll, privateHosts: ['*.here', 'here'] };

async function failureOf(source: string, changes: Partial<ImageOptions> = {}): Promise<string> {
  const thrown = await loadImage(source, { ...options, ...changes }).then(
    () => 'an image',
    (error: unknown) => error,
  );
  return thrown instanceof HandlerError ? `${thrown.code}: ${thrown.message}` : String(thrown);
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port; // It listens on a port.
}

describe('a host that gives no image is told apart', () => {
  test('by a name that is unknown', async () => {
    expect(await failureOf('http://nowhere.test/a.png')).toBe(
      'IMAGE_HOST_NOT_FOUND: Expected a public address of the host "nowhere.test", got none: its name is unknown or not public.',
    );
  });

  test('by name servers that do not answer', async () => {
    expect(await failureOf('http://Dead.test/')).toBe(
      'IMAGE_HOST_NOT_FOUND: Expected an address of the host "Dead.test", got no answer from the name servers.',
    );
  });

  test('by a connection that is refused', async () => {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await failureOf(`http://closed.here:${port}/`)).toBe(
      'IMAGE_HOST_UNREACHABLE: Expected a connection to the host "closed.here", got none: it is refused, or does not open in time.',
    );
  });

  test('by TLS that fails', async () => {
    const { cert, key } = makeCertificates().server;
    const server = createSecureServer({ cert, key });
    const port = await listen(server);
    expect(await failureOf(`https://untrusted.here:${port}/`)).toBe(
      'IMAGE_HOST_TLS_FAILED: Expected TLS with a certificate that can be verified from the host "untrusted.here", got none: the handshake fails, or the certificate is expired, self-signed or another host\'s.',
    );
  });

  test('by an answer that is not HTTP', async () => {
    const server = await startRawServer((socket) => socket.end('220 mail.example.com ESMTP\r\n'));
    expect(await failureOf(`http://mail.here:${server.port}/`)).toBe(
      'IMAGE_HOST_NOT_HTTP: Expected an HTTP answer from the host "mail.here", got something else, or nothing before the connection ended.',
    );
  });

  test.each([403, 404, 500])('by a status of %d', async (status) => {
    const server = await startRawServer((socket) => socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`));
    expect(await failureOf(`http://no.here:${server.port}/`)).toBe(
      `IMAGE_FETCH_FAILED: Expected an answer of 200 from the host "no.here", got ${status}.`,
    );
  });

  test('by a body that breaks off', async () => {
    const server = await startRawServer((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx'));
    expect(await failureOf(`http://short.here:${server.port}/`)).toBe(
      'IMAGE_FETCH_FAILED: Expected the whole image from the host "short.here", got an answer that breaks off.',
    );
  });

  test('where it redirects, without the name of the other host', async () => {
    const server = await startRawServer((socket) =>
      socket.end('HTTP/1.1 302 Found\r\nLocation: http://secret-name.test/\r\nContent-Length: 0\r\n\r\n'),
    );
    expect(await failureOf(`http://first.here:${server.port}/`)).toBe(
      'IMAGE_HOST_NOT_FOUND: Expected a public address of a host that "first.here" redirects to, got none: its name is unknown or not public.',
    );
  });
});

describe('a private host is silent', () => {
  /** How a source fails, with the name of its host left out, and how long that takes. */
  async function answerOf(source: string, changes: Partial<ImageOptions> = {}) {
    const startMs = performance.now();
    const failure = await failureOf(source, { silenceMs: 300, ...changes });
    return { failure: failure.replace(/"[^"]*"/, ''), ms: performance.now() - startMs };
  }

  /** Answers after some time. */
  const slowly =
    (delayMs: number): LookupAll =>
    (host, lookupOptions, callback) =>
      void setTimeout(() => lookupAll(host, lookupOptions, callback), delayMs);

  test('it cannot be told from an unknown one, by its message, its port or the time', async () => {
    const unknown = await answerOf('http://unknown.test/', { lookupAll: slowly(150) });
    for (const source of ['http://db.inside/', 'http://db.inside:1/', 'https://db.inside/', 'http://DB.inside:22/x']) {
      const { failure, ms } = await answerOf(source);
      expect(failure).toBe(unknown.failure);
      expect(Math.abs(ms - unknown.ms)).toBeLessThan(100);
    }
    expect(unknown.ms).toBeGreaterThan(295);
  });

  test('nor behind a redirect', async () => {
    const server = await startRawServer((socket, head) => {
      const [, host] = /^GET \/(\S+)/.exec(head) ?? [];
      socket.end(`HTTP/1.1 302 Found\r\nLocation: http://${host}/\r\nContent-Length: 0\r\n\r\n`);
    });
    const unknown = await answerOf(`http://first.here:${server.port}/unknown.test`);
    const inside = await answerOf(`http://first.here:${server.port}/db.inside`);
    expect(inside.failure).toBe(unknown.failure);
    expect(Math.abs(inside.ms - unknown.ms)).toBeLessThan(100);
  });

  test('unless the operator lists it', async () => {
    const listed = await answerOf('http://unknown.here.test/', { privateHosts: ['*.test'] });
    expect(listed.ms).toBeLessThan(250);
  });

  test('a host that has an address is not kept waiting', async () => {
    const server = await startRawServer((socket) => socket.end('HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n'));
    expect((await answerOf(`http://a.here:${server.port}/`)).ms).toBeLessThan(250);
  });
});

test.each([
  ['http://Example.COM/a', 'Example.COM'],
  [' HTTPS://bücher.example:8443/?q', 'bücher.example'],
  ['http:example.com', 'example.com'],
  ['http:\\\\example.com\\a', 'example.com'],
  ['http://user:secret@example.com#@other.com', 'example.com'],
  ['http://a@b@example.com:80', 'example.com'],
  ['http://[::1]:80/', '[::1]'],
  ['http://0x7f.1/', '0x7f.1'],
  ['http://exa\tmple.com/', 'example.com'],
  ['http://"quoted"/', 'quoted'],
  [`http://${'a'.repeat(300)}/`, 'a'.repeat(253)],
])('the host of %j is written %s', (source, host) => {
  expect(writtenHost(source)).toBe(host);
  expect(hostPhrase(host, false)).toBe(`the host "${host}"`);
});

describe('a body in another coding than its headers say', () => {
  const png = readFileSync(imagePath('small'));
  const answer = (headers: string, body: Uint8Array) =>
    startRawServer((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${headers}\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.end(body);
    });

  test.each(['aws-chunked', 'utf-8', 'binary', 'none', 'gzip, base64', 'gzip', 'deflate', 'br', 'gzip, br'])(
    'is an image all the same, where it is one as it stands: %s',
    async (coding) => {
      const { origin } = await answer(`Content-Encoding: ${coding}`, png);
      expect(await failureOf(origin.replace('127.0.0.1', 'a.here'))).toBe('an image');
    },
  );

  test('else says which codings are known, and not which one came', async () => {
    const { origin } = await answer('Content-Encoding: compress', gzipSync(png));
    expect(await failureOf(origin.replace('127.0.0.1', 'a.here'))).toMatch(
      /^IMAGE_FETCH_FAILED: Expected a body without Content-Encoding, or in gzip, deflate, br(?:, zstd)?, from the host "a\.here", got one in another coding\.$/,
    );
  });

  test('or that it is not what it is said to be', async () => {
    const { origin } = await answer('Content-Encoding: gzip', Buffer.from('<html></html>'));
    expect(await failureOf(origin.replace('127.0.0.1', 'a.here'))).toMatch(
      /^IMAGE_FETCH_FAILED: .* got one that is not in the coding that its headers name\.$/,
    );
  });
});
