import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
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

/** An idle connection takes a place from others, here and at the host. */
test('a connection that nobody uses is closed after 4 s, however long the host would keep it', async () => {
  const server = await startPatientServer();
  const sockets: Socket[] = [];
  const closedMs: number[] = [];
  server.on('connection', (socket) => {
    sockets.push(socket);
    socket.once('close', () => closedMs.push(performance.now()));
  });
  const { port } = server.address() as AddressInfo; // It listens on a port.
  const fetchText = async () => {
    const { bytes } = await fetchImage(new URL(`http://127.0.0.1:${port}/`), options);
    return Buffer.from(bytes).toString();
  };
  expect(await fetchText()).toBe('an image');
  expect(await fetchText()).toBe('an image');
  const idleMs = performance.now();
  expect(sockets).toHaveLength(1); // It was kept.
  await expect.poll(() => closedMs, { timeout: 10_000 }).toHaveLength(1);
  expect((closedMs[0] ?? 0) - idleMs).toBeGreaterThan(3_500);
});
