import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { ConnectionTable, connectionLimit, peerOf } from '../../../handlers/service/connection-table.ts';

/** A table of three connections, and its lines in the log. */
async function startTable() {
  const lines: object[] = [];
  const table = new ConnectionTable(3, { warn: (details, message) => void lines.push({ ...details, message }) });
  const server = net.createServer((socket) => table.add(socket.on('error', () => undefined).resume()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo; // It listens on a port.
  /** Resolves when the table has it, or has closed it. */
  const connect = async (): Promise<Socket> => {
    const accepted = once(server, 'connection');
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    onTestFinished(() => void socket.destroy());
    await Promise.all([once(socket, 'connect'), accepted]);
    return socket;
  };
  return { table, lines, connect };
}

/** The name by which the server knows the connection of a client. */
const nameOf = ({ localAddress, localPort }: Socket) =>
  peerOf({ remoteAddress: localAddress, remotePort: localPort }) ?? '';

const openStates = async (sockets: readonly Socket[]) => {
  await new Promise((resolve) => setTimeout(resolve, 50));
  return sockets.map(({ destroyed }) => !destroyed);
};

test('the connection that is idle for longest gives way', async () => {
  const { connect, lines } = await startTable();
  const sockets = [await connect(), await connect(), await connect()];
  expect(await openStates(sockets)).toEqual([true, true, true]);
  sockets.push(await connect());
  expect(await openStates(sockets)).toEqual([false, true, true, true]);
  sockets.push(await connect());
  expect(await openStates(sockets)).toEqual([false, false, true, true, true]);
  expect(lines).toEqual([{ maximum: 3, closed: 1, message: expect.stringMatching(/^too many connections/) }]);
});

test('a connection whose request is answered stays; afterwards it is the last one idle', async () => {
  const { connect, table } = await startTable();
  const [first, second] = [await connect(), await connect()];
  table.begin(nameOf(first));
  table.begin(nameOf(first));
  table.end(nameOf(first));
  const sockets = [first, second, await connect(), await connect()];
  expect(await openStates(sockets)).toEqual([true, false, true, true]);
  table.end(nameOf(first));
  sockets.push(await connect());
  expect(await openStates(sockets)).toEqual([true, false, false, true, true]);
});

test('where all answer requests, a new connection is refused; one that ends makes room', async () => {
  const { connect, table } = await startTable();
  const busy = [await connect(), await connect(), await connect()];
  for (const socket of busy) table.begin(nameOf(socket));
  expect(await openStates([...busy, await connect()])).toEqual([true, true, true, false]);
  busy[0]?.destroy();
  await expect.poll(() => [...table.sockets()].length).toBe(2);
  expect(await openStates([await connect()])).toEqual([true]);
});

test('the limit leaves files to others, and is never so low that nobody is served', () => {
  expect(connectionLimit(1_000, 1)).toBeLessThanOrEqual(1_000);
  expect(connectionLimit(10, 1)).toBe(10);
  expect(connectionLimit(1_000_000, 1_000_000)).toBe(16);
});
