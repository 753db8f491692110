import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';

/** No request for this long, and none running: whoever sends them has noticed. */
const QUIET_MS = 250;
const CHECK_INTERVAL_MS = 25;

/** How a server comes to its end. */
export interface Draining {
  /** Whether it was told to stop: it still answers, and says that it is not ready. */
  isDraining(): boolean;
  /**
   * Stops a server without losing a request. It goes on accepting until requests stay away, or for `limitMs`: a
   * listener that closes at once resets connections that the kernel has made and the server has not seen. From the
   * start readiness is false, and every answer asks its client to close the connection. Requests that have arrived are
   * answered, however long that takes; clients that have sent none by the limit, or a part of one, are hung up on.
   */
  drain(limitMs: number): Promise<void>;
}

/** Watches the requests of a server, so that it can be drained. */
export function addDraining(server: FastifyInstance): Draining {
  let draining = false;
  const running = new Set<IncomingMessage>();
  const connected = new Set<Socket>();
  let lastRequestMs = 0;
  server.server.on('connection', (socket) => {
    connected.add(socket);
    socket.once('close', () => connected.delete(socket));
  });
  server.addHook('onRequest', async ({ raw: request }, reply) => {
    running.add(request);
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
      while (!isQuiet() && !isLate()) await sleep(CHECK_INTERVAL_MS);
      let closed = false;
      const closing = server.close().finally(() => {
        closed = true;
      });
      // From here on Node looks for late clients no more.
      while (!closed) {
        if (isLate()) hangUp(connected, running);
        await Promise.race([closing, sleep(CHECK_INTERVAL_MS)]);
      }
      await closing;
    },
  };
}

/** Closes the connections that no request has come over that is whole. */
function hangUp(connected: ReadonlySet<Socket>, running: ReadonlySet<IncomingMessage>): void {
  const whole = [...running].filter(({ complete }) => complete);
  const needed = new Set(whole.map(({ socket }) => socket));
  for (const socket of connected) if (!needed.has(socket)) socket.destroy();
}
