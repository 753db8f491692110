import { EventEmitter, once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import Fastify, { type FastifyInstance } from 'fastify';
import { expect, test } from 'vitest';
import { HttpDrain } from '../../../handlers/http/drain.ts';
import { ConnectionTable } from '../../../handlers/service/connection-table.ts';
import { jumpClock } from '../../support/clock.ts';
import { silentLog } from '../../support/grpc.ts';

/** More than the buffers between a server and its client hold. */
const LARGE_BYTES = 64_000_000;

function drainOf(server: FastifyInstance): HttpDrain {
  const connections = new ConnectionTable(100, silentLog);
  server.server.on('connection', (socket) => connections.add(socket));
  return new HttpDrain(server, connections);
}

test('asks those that may keep it accepting again and again, with its limit', async () => {
  const server = Fastify();
  const draining = drainOf(server);
  const limits: number[] = [];
  draining.requests.waitWhile((limitMs) => limits.push(limitMs) < 3);
  await draining.drain(60_000);
  expect(limits).toEqual([60_000, 60_000, 60_000]);
});

test('hangs up on a client that does not read its answer for ten seconds; a client that reads has it whole', async () => {
  const server = Fastify();
  const draining = drainOf(server);
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
  expect(unread.destroyed).toBe(false);
  let isDrained = false;
  drained.then(() => {
    isDrained = true;
  });
  await sleep(100); // The server looks at its clients several times.
  expect(isDrained).toBe(false);
  jumpClock(10_000);
  await drained;
  unread.destroy();
});
