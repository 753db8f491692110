import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { HostFailure } from '../../network/host-failure.ts';
import { KeptConnections } from '../../network/kept-connections.ts';
import { makeCertificates } from '../support/certificates.ts';
import { startRawServer } from '../support/raw-server.ts';

const loopback = [{ address: '127.0.0.1', family: 4 }];

/** Gets text, or what kept from it. */
async function textOf(
  url: string,
  connections = new KeptConnections(),
  addresses: readonly { readonly address: string; readonly family: number }[] = loopback,
): Promise<string> {
  try {
    const signal = AbortSignal.timeout(20_000);
    const { status, body } = await connections.get(new URL(url), addresses, { headers: {}, signal });
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk);
    return `${status} ${Buffer.concat(chunks)}`;
  } catch (thrown) {
    return thrown instanceof HostFailure ? thrown.problem : `broke off: ${thrown}`;
  }
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port; // It listens on a port.
}

/**
 * Answers of hosts as bytes. curl 7.88 reads `hello` from all of these; undici refuses
 * those that are marked with a star.
 */
const answers: readonly (readonly [string, string])[] = [
  ['HTTP/1.0 without a length', 'HTTP/1.0 200 OK\r\n\r\nhello'],
  ['HTTP/1.0 that is kept', 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello'],
  ['HTTP/1.1 without a length', 'HTTP/1.1 200 OK\r\n\r\nhello'],
  ['no reason', 'HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello'],
  ['another version', 'HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
  ['line feeds alone*', 'HTTP/1.1 200 OK\nContent-Length: 5\n\nhello'],
  [
    'a length beside chunks*',
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  ],
  ['chunks with extensions', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n'],
  ['chunks with spaces*', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n'],
  ['chunks with a trailer', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n'],
  ['an identity of transfer*', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello'],
  ['early hints', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
  ['a Continue*', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
  ['a folded header*', 'HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello'],
  ['a control character in a header*', 'HTTP/1.1 200 OK\r\nX-A: b\x01c\r\nContent-Length: 5\r\n\r\nhello'],
  ['an offer to upgrade', 'HTTP/1.1 200 OK\r\nUpgrade: h2\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\nhello'],
  ['99 KB of headers', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(99_000)}\r\nContent-Length: 5\r\n\r\nhello`],
  [
    '250 KB of headers',
    `HTTP/1.1 200 OK\r\n${`X-A: ${'a'.repeat(49_990)}\r\n`.repeat(5)}Content-Length: 5\r\n\r\nhello`,
  ],
  ['a longer body than its length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more'],
];

describe('an answer', () => {
  test.each(answers)('of %s is read', async (_, answer) => {
    const server = await startRawServer((socket) => socket.end(answer, 'latin1'));
    expect(await textOf(server.origin)).toBe('200 hello');
  });

  test.each([
    ['of nothing', ''],
    ['of another protocol', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
    ['of HTTP/0.9', '<html>hello</html>'],
    ['with 400 KB of headers', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(400_000)}\r\n\r\nhello`],
    ['that ends within its headers', 'HTTP/1.1 200 OK\r\nContent-Le'],
    ['with a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello'],
    ['to upgrade', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'],
  ])('%s is none of HTTP', async (_, answer) => {
    const server = await startRawServer((socket) => socket.end(answer, 'latin1'));
    expect(await textOf(server.origin)).toBe('not-http');
  });

  test.each([
    ['its length', 'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nhello'],
    ['its last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
  ])('that ends before %s breaks off', async (_, answer) => {
    const server = await startRawServer((socket) => socket.end(answer, 'latin1'));
    expect(await textOf(server.origin)).toMatch(/^broke off/);
  });
});

describe('a kept connection', () => {
  const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello';

  test('is used again', async () => {
    const server = await startRawServer((socket) => socket.write(ok));
    const connections = new KeptConnections();
    expect([await textOf(server.origin, connections), await textOf(server.origin, connections)]).toEqual([
      '200 hello',
      '200 hello',
    ]);
    expect(server.connectionCount()).toBe(1);
  });

  test.each([
    ['closes', (socket: import('node:net').Socket) => socket.end()],
    ['resets', (socket: import('node:net').Socket) => socket.resetAndDestroy()],
  ])('that the host %s at the next request is replaced', async (_, end) => {
    const server = await startRawServer((socket, _head, number) => (number === 0 ? socket.write(ok) : end(socket)));
    const connections = new KeptConnections();
    for (const _time of [1, 2, 3]) expect(await textOf(server.origin, connections)).toBe('200 hello');
  });

  test('is replaced once: a host that closes every connection without an answer is asked once or twice', async () => {
    let isUp = true;
    const server = await startRawServer((socket) => (isUp ? socket.write(ok) : socket.end()));
    const connections = new KeptConnections();
    await textOf(server.origin, connections);
    isUp = false;
    expect(await textOf(server.origin, connections)).toBe('not-http');
    expect(server.requests).toHaveLength(3);
    expect(await textOf(server.origin, connections)).toBe('not-http');
    expect(server.requests).toHaveLength(4);
  });
});

describe('a host', () => {
  test('that refuses the connection is unreachable', async () => {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await textOf(`http://127.0.0.1:${port}/`)).toBe('unreachable');
    expect(await textOf(`https://127.0.0.1:${port}/`)).toBe('unreachable');
    const twice = [...loopback, { address: '127.0.0.2', family: 4 }];
    expect(await textOf(`http://a.test:${port}/`, new KeptConnections(), twice)).toBe('unreachable');
  });

  test('is reached at its next address where the first refuses', async () => {
    const server = await startRawServer((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nhello'));
    const addresses = [{ address: '127.0.0.9', family: 4 }, { address: '::1', family: 6 }, ...loopback];
    expect(await textOf(`http://a.test:${server.port}/`, new KeptConnections(), addresses)).toBe('200 hello');
  });

  test.each([
    ['that speaks http where https is asked for', 'https', 'tls'],
    ['that speaks http where http is asked for', 'http', '200 hello'],
  ])('%s', async (_, scheme, outcome) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined).once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\nhello'));
    });
    expect(await textOf(`${scheme}://127.0.0.1:${await listen(server)}/`)).toBe(outcome);
  });

  test('that closes during the handshake, or has a certificate that nobody vouches for, fails at TLS', async () => {
    const closing = createServer((socket) => socket.on('error', () => undefined).once('data', () => socket.end()));
    expect(await textOf(`https://127.0.0.1:${await listen(closing)}/`)).toBe('tls');
    const { cert, key } = makeCertificates().server;
    const untrusted = createSecureServer({ cert, key }, (_, response) => response.end('hello'));
    const port = await listen(untrusted);
    expect(await textOf(`https://127.0.0.1:${port}/`)).toBe('tls');
    expect(await textOf(`https://a.test:${port}/`)).toBe('tls');
    expect(await textOf(`http://127.0.0.1:${port}/`)).toBe('not-http'); // Plain HTTP at a port of TLS.
  });

  test.each([
    ['https://a.test/', 'a.test'],
    ['https://a.test./', 'a.test'],
    ['https://bücher.test/', 'xn--bcher-kva.test'],
    ['https://127.0.0.1/', undefined],
  ])('of %s is greeted by the name %s', async (url, greeted) => {
    const names: (string | undefined)[] = [];
    const { cert, key } = makeCertificates().server;
    const server = createTlsServer({
      cert,
      key,
      SNICallback: (name, done) => {
        names.push(name);
        done(new Error('no'));
      },
    });
    server.on('tlsClientError', () => undefined);
    const port = await listen(server);
    const target = new URL(url);
    target.port = String(port);
    expect(await textOf(target.href)).toBe('tls');
    expect(names).toEqual(greeted === undefined ? [] : [greeted]);
  });

  test('whose connection does not open is given up after some seconds', { timeout: 20_000 }, async () => {
    // A server that takes the connection and never greets.
    const silent = createServer((socket) => socket.on('error', () => undefined).resume());
    const startMs = performance.now();
    expect(await textOf(`https://127.0.0.1:${await listen(silent)}/`)).toBe('unreachable');
    expect(performance.now() - startMs).toBeGreaterThan(5_000);
  });
});

test('a request that is given up closes its connection', async () => {
  let closed: Promise<unknown> | undefined;
  const server = await startRawServer((socket) => {
    closed = new Promise((resolve) => socket.once('close', resolve));
  });
  const leaving = new AbortController();
  const connections = new KeptConnections();
  const answer = connections.get(new URL(server.origin), loopback, { headers: {}, signal: leaving.signal });
  await expect.poll(() => closed !== undefined).toBe(true);
  leaving.abort(new Error('left'));
  await expect(answer).rejects.toThrow('left');
  await closed;
});
