import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type ConnectionTable, peerOf } from '../service/connection-table.ts';

/** The most requests that a client may send ahead of their answers on one connection. */
const MAX_WAITING = 100;

/** A client that takes no byte of its answer for this long is disconnected. */
const UNREAD_MS = 15_000;

/** A request that has arrived, with its answer to be. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/**
 * Answers the requests of each connection one after the other. Node reads requests as fast as a client writes them, and
 * would answer all of them at once: 64 KB of short requests would have gigabytes of answers, if nobody reads those. A
 * client that sends too many requests ahead, or does not read, loses its connection.
 * @param answer Fastify's listener.
 * @param connections gets to know which connections are idle.
 * @param unreadMs the time for a client to take another part of its answer.
 */
export function inTurns(
  answer: RequestListener,
  connections: Pick<ConnectionTable, 'begin' | 'end'>,
  unreadMs: number = UNREAD_MS,
): RequestListener {
  const waiting = new WeakMap<Socket, Exchange[]>();

  const begin = ({ request, response }: Exchange, queue: Exchange[]): void => {
    const { socket } = request;
    const peer = peerOf(socket) ?? '';
    connections.begin(peer);
    response.once('prefinish', () => closeUnlessRead(response, unreadMs));
    response.once('close', () => {
      connections.end(peer);
      const next = queue.shift();
      if (next === undefined || socket.destroyed) waiting.delete(socket);
      else {
        socket.setTimeout(0); // The time that the answer before had to be read in.
        begin(next, queue);
      }
    });
    answer(request, response);
  };

  return (request, response) => {
    const { socket } = request;
    const queue = waiting.get(socket);
    if (queue === undefined) {
      const requests: Exchange[] = [];
      waiting.set(socket, requests);
      begin({ request, response }, requests);
    } else if (queue.length < MAX_WAITING) queue.push({ request, response });
    else socket.destroy();
  };
}

/**
 * Gives the client of a complete answer its time to read. Most answers are with the kernel already. Node begins the time
 * anew whenever the kernel takes a part, and ends it with the answer or with the next request.
 */
function closeUnlessRead({ socket }: ServerResponse, unreadMs: number): void {
  if (socket !== null && socket.writableLength > 0) socket.setTimeout(unreadMs);
}
