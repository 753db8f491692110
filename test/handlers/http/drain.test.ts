import { EventEmitter, once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import Fastify from 'fastify';
import { expect, test } from 'vitest';
import { HttpDrain } from '../../../handlers/http/drain.ts';

/** More than the buffers between a server and its client hold. */
const LARGE_BYTES = 64_000_000;

test('what it waits for is told its limit, once requests stay away', async () => {
  const server = Fastify();
  const draining = new HttpDrain(server);
  const told: number[] = [];
  draining.requests.waitWhile((limitMs) => told.push(limitMs) < 3);
  await draining.drain(60_000);
  expect(told).toEqual([60_000, 60_000, 60_000]);
});

test('whoever does not read an answer that came late is hung up on; whoever reads has it whole', {
  timeout: 60_000,
}, async () => {
  const server = Fastify();
  const draining = new HttpDrain(server);
  const events = new EventEmitter();
  let count = 0;
  server.get('/', async () => {
    count += 1;
    await once(events, 'answer');
    return Buffer.alloc(LARGE_BYTES);
  });
  await server.listen({ port: 0, host: '127.0.0.1' });
  const { port } = server.server.address() as AddressInfo; // It listens on a port.
  const connect = () => net.connect(port, '127.0.0.1').on('error', () => undefined);
  const [reading, unread] = [connect(), connect().pause()];
  let readBytes = 0;
  reading.on('data', ({ length }) => {
    readBytes += length;
  });
  for (const socket of [reading, unread]) socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await expect.poll(() => count).toBe(2);
  const drained = draining.drain(0);
  await expect.poll(() => server.server.listening).toBe(false);
  events.emit('answer');
  await once(reading, 'close');
  expect(readBytes).toBeGreaterThan(LARGE_BYTES);
  await drained;
  unread.destroy();
});
