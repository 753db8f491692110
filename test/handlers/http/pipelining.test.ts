import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { inTurns } from '../../../handlers/http/pipelining.ts';
import { ConnectionTable } from '../../../handlers/service/connection-table.ts';
import { silentLog } from '../../support/grpc.ts';
import { send } from '../../support/server.ts';
import { withServer } from '../../support/with-server.ts';

/** More than the buffers between a server and its client hold. */
const LARGE_BYTES = 64_000_000;

function connectTo(url: string): net.Socket {
  const { hostname, port } = new URL(url);
  const socket = net.connect(Number(port), hostname);
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  return socket;
}

/** Also where the server resets the connection. */
function untilClosed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** All that the server sends until it closes the connection. */
async function readAll(socket: net.Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await untilClosed(socket);
  return Buffer.concat(chunks).toString('latin1');
}

const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;

describe('requests that are sent ahead of their answers', () => {
  const server = withServer({}, { initialize: false });

  test('are answered in their order, also those with bodies and to unknown paths', async () => {
    const socket = connectTo(server.url);
    const post = 'POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}';
    socket.write(
      get('/v2/health/live') + post + get('/nothing') + get('/docs/start.js') + get('/livez', 'Connection: close\r\n'),
    );
    const answers = await readAll(socket);
    expect(answers.match(/HTTP\/1\.1 \d+|\{"live":true\}|SwaggerUIBundle/g)).toEqual([
      'HTTP/1.1 200',
      '{"live":true}',
      'HTTP/1.1 200',
      'HTTP/1.1 404',
      'HTTP/1.1 200',
      'SwaggerUIBundle',
      'HTTP/1.1 200',
    ]);
  });

  test.each([
    ['the largest answer', get('/docs/swagger-ui-bundle.js')],
    ['its compressed form', get('/docs/swagger-ui-bundle.js', 'Accept-Encoding: gzip\r\n')],
    ['unknown paths', get('/nothing')],
    ['refused methods', 'PATCH / HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ])('end the connection when there are too many: %s', async (_title, request) => {
    const socket = connectTo(server.url);
    socket.write(request.repeat(1_000));
    expect((await readAll(socket)).match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThanOrEqual(101);
    expect((await send(server.url, { path: '/v2/health/live' })).status).toBe(200);
  });

  test('a hundred are answered', async () => {
    const socket = connectTo(server.url);
    socket.write(get('/v2/health/live').repeat(99) + get('/v2/health/live', 'Connection: close\r\n'));
    expect((await readAll(socket)).match(/HTTP\/1\.1 200/g)).toHaveLength(100);
  });
});

/** A server of one large answer, whose clients have 300 ms to take another part of it. */
async function startLargeServer(): Promise<{ readonly url: string; readonly count: () => number }> {
  let count = 0;
  const answer = Buffer.alloc(LARGE_BYTES);
  const listener = inTurns(
    (_request, response) => {
      count += 1;
      response.end(answer);
    },
    new ConnectionTable(100, silentLog),
    300,
  );
  const server = http.createServer(listener).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close().closeAllConnections());
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, count: () => count };
}

describe('a client', () => {
  test('that does not read its answer is disconnected, and its later requests are not answered', async () => {
    const server = await startLargeServer();
    const socket = connectTo(server.url).pause();
    socket.write(get('/').repeat(3));
    const ended = untilClosed(socket);
    await expect.poll(() => server.count()).toBe(1);
    setTimeout(() => socket.resume(), 1_000); // A paused socket does not notice its end.
    await ended;
    expect(socket.bytesRead).toBeLessThan(LARGE_BYTES);
    expect(server.count()).toBe(1);
  });

  test('that reads slowly has its whole answers', async () => {
    const server = await startLargeServer();
    const socket = connectTo(server.url);
    socket.write(get('/') + get('/', 'Connection: close\r\n'));
    let steps = 0;
    socket.on('data', () => {
      steps += 1;
      if (steps % 400 !== 0) return;
      socket.pause();
      setTimeout(() => socket.resume(), 150);
    });
    await untilClosed(socket);
    expect(socket.bytesRead).toBeGreaterThan(2 * LARGE_BYTES);
  });
});
