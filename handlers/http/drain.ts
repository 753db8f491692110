import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';

/** No request for this long, and none running: whoever sends them has noticed. */
const QUIET_MS = 250;
const CHECK_INTERVAL_MS = 25;
/** A client that has not read its answers in this long, by the limit or after it, is hung up on. */
const UNREAD_MS = 10_000;

/** How a server comes to its end. */
export interface Draining {
  /** Whether it was told to stop: it still answers, and says that it is not ready. */
  isDraining(): boolean;
  /**
   * Stops a server without losing a request. It goes on accepting until requests stay away, or for `limitMs`: a
   * listener that closes at once resets connections that the kernel has made and the server has not seen. From the
   * start readiness is false, and every answer asks its client to close the connection. Requests that have arrived are
   * answered, however long that takes; clients that have sent none by the limit, or a part of one, are hung up on, and
   * later those that do not read their answers.
   */
  drain(limitMs: number): Promise<void>;
  /**
   * Has `drain` go on accepting, within its limit, as long as this says that clients have something to come back for. It
   * is told the limit: who comes back more seldom is not waited for.
   */
  waitWhile(isBusy: (limitMs: number) => boolean): void;
}

/** Watches the requests of a server, so that it can be drained. */
export function addDraining(server: FastifyInstance): Draining {
  let draining = false;
  const running = new Map<IncomingMessage, ServerResponse>();
  const answeredMs = new WeakMap<Socket, number>();
  const connected = new Set<Socket>();
  const busy: ((limitMs: number) => boolean)[] = [];
  let lastRequestMs = 0;
  server.server.on('connection', (socket) => {
    connected.add(socket);
    socket.once('close', () => connected.delete(socket));
  });
  server.addHook('onRequest', async ({ raw: request }, reply) => {
    running.set(request, reply.raw);
    lastRequestMs = performance.now();
    // Comes after the answer, and also when the client leaves before it.
    reply.raw.once('close', () => {
      running.delete(request);
      lastRequestMs = performance.now();
    });
  });
  server.addHook('onSend', async (_request, reply) => {
    if (draining) reply.header('connection', 'close');
  });
  return {
    isDraining: () => draining,
    async drain(limitMs) {
      draining = true;
      const startMs = performance.now();
      const isLate = () => performance.now() - startMs >= limitMs;
      const isQuiet = () => running.size === 0 && performance.now() - Math.max(lastRequestMs, startMs) >= QUIET_MS;
      const isBusy = () => busy.some((each) => each(limitMs));
      while ((!isQuiet() || isBusy()) && !isLate()) await sleep(CHECK_INTERVAL_MS);
      let closed = false;
      const closing = server.close().finally(() => {
        closed = true;
      });
      // From here on Node looks for late clients no more.
      while (!closed) {
        if (isLate()) hangUp(connected, running, answeredMs);
        await Promise.race([closing, sleep(CHECK_INTERVAL_MS)]);
      }
      await closing;
    },
    waitWhile: (isBusy) => void busy.push(isBusy),
  };
}

/**
 * Closes the connections that no request has come over that is whole, and those whose answers nobody reads.
 * @param answeredMs since when all that a connection asked for is only to be read
 */
function hangUp(
  connected: ReadonlySet<Socket>,
  running: ReadonlyMap<IncomingMessage, ServerResponse>,
  answeredMs: WeakMap<Socket, number>,
): void {
  const computing = new Set<Socket>();
  const answered = new Set<Socket>();
  for (const [{ complete, socket }, { writableEnded }] of running)
    if (complete) (writableEnded ? answered : computing).add(socket);
  const nowMs = performance.now();
  for (const socket of connected) {
    if (computing.has(socket)) continue;
    const sinceMs = answeredMs.get(socket) ?? nowMs;
    answeredMs.set(socket, sinceMs);
    if (!answered.has(socket) || nowMs - sinceMs >= UNREAD_MS) socket.destroy();
  }
}
