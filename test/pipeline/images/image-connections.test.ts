import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { fetchImage } from '../../../pipeline/images/image-fetch.ts';

/** A server whose answers allow a client to keep its connection for ten minutes. It closes no connection itself. */
async function startPatientServer() {
  const server = createServer((_request, response) => {
    response.writeHead(200, { connection: 'keep-alive', 'keep-alive': 'timeout=600' }).end('an image');
  });
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return server;
}

const options = {
  timeoutMs: 30_000,
  maxBytes: 100,
  maxRedirects: 0,
  httpsOnly: false,
  allowedHosts: [],
  privateHosts: ['127.0.0.1'],
};

const turnOfEventLoop = () => new Promise(setImmediate);

/** An idle connection takes a place from others, here and at the host. */
test('a connection that nobody uses is closed after 4 s, however long the host would keep it', async () => {
  const server = await startPatientServer();
  const sockets: Socket[] = [];
  server.on('connection', (socket) => void sockets.push(socket));
  const { port } = server.address() as AddressInfo; // It listens on a port.
  const fetchText = async () => Buffer.from(await fetchImage(new URL(`http://127.0.0.1:${port}/`), options)).toString();

  expect(await fetchText()).toBe('an image'); // undici starts a clock of its own, which must have a real timer.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  expect(await fetchText()).toBe('an image');
  const isClosed = () => sockets.at(-1)?.destroyed;
  await turnOfEventLoop(); // The connection is idle a moment after the answer.
  vi.advanceTimersByTime(3_999);
  await turnOfEventLoop();
  expect(isClosed()).toBe(false);
  vi.advanceTimersByTime(1);
  await expect.poll(isClosed).toBe(true);
});
