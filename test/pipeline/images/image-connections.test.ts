import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { fetchImage } from '../../../pipeline/images/image-fetch.ts';

/** An idle connection is a place that nobody else has, of ours and of the host. */
test('a connection that nobody uses is closed, however long the host would keep it', { timeout: 60_000 }, async () => {
  const server = createServer((_request, response) => {
    response.writeHead(200, { connection: 'keep-alive', 'keep-alive': 'timeout=600' }).end('an image');
  });
  server.keepAliveTimeout = 0; // It closes none itself.
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const connected = once(server, 'connection');
  const { port } = server.address() as AddressInfo; // It listens on a port.
  const options = {
    timeoutMs: 30_000,
    maxBytes: 100,
    maxRedirects: 0,
    httpsOnly: false,
    allowedHosts: [],
    privateHosts: ['127.0.0.1'],
  };
  expect(Buffer.from(await fetchImage(new URL(`http://127.0.0.1:${port}/`), options)).toString()).toBe('an image');
  const [socket] = await connected;
  await once(socket, 'close');
});
