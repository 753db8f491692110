import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';

/** No request for this long, and none running: whoever sends them has noticed. */
const QUIET_MS = 250;
const CHECK_INTERVAL_MS = 25;

export interface Draining {
  isDraining(): boolean;
  /**
   * Stops a server without losing a request. It goes on accepting until requests stay away, or for `limitMs`: a
   * listener that closes at once resets connections that the kernel has made and the server has not seen. From the
   * start readiness is false, and every answer asks its client to close the connection.
   */
  drain(limitMs: number): Promise<void>;
}

/** Watches the requests of a server, so that it can be drained. */
export function addDraining(server: FastifyInstance): Draining {
  let draining = false;
  let running = 0;
  let lastRequestMs = 0;
  server.addHook('onRequest', async (_request, reply) => {
    running += 1;
    lastRequestMs = performance.now();
    // Comes after the answer, and also when the client leaves before it.
    reply.raw.once('close', () => {
      running -= 1;
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
      const isQuiet = () => running === 0 && performance.now() - Math.max(lastRequestMs, startMs) >= QUIET_MS;
      while (!isQuiet() && performance.now() - startMs < limitMs) await sleep(CHECK_INTERVAL_MS);
      await server.close();
    },
  };
}
