import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A server on this machine whose answers are bytes, written as they are. */
export interface RawServer {
  readonly port: number;
  readonly origin: string;
  /** The heads of the requests that came, in order. */
  readonly requests: readonly string[];
  /** How many connections were opened. */
  connectionCount(): number;
}

/**
 * Answers each request of a connection, closed when the test ends.
 * @param answer takes the head of a request and its number on the connection, and writes to the socket.
 */
export async function startRawServer(
  answer: (socket: Socket, head: string, number: number) => void,
): Promise<RawServer> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  let connectionCount = 0;
  const server = createServer((socket) => {
    connectionCount += 1;
    sockets.add(socket);
    let text = '';
    let number = 0;
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end !== -1; end = text.indexOf('\r\n\r\n')) {
        requests.push(text.slice(0, end));
        answer(socket, text.slice(0, end), number);
        text = text.slice(end + 4);
        number += 1;
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo; // It listens on a port.
  return { port, origin: `http://127.0.0.1:${port}`, requests, connectionCount: () => connectionCount };
}
