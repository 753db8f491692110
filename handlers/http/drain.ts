import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { type ConnectionTable, peerOf } from '../service/connection-table.ts';
import { Drain } from '../service/drain.ts';

const CHECK_INTERVAL_MS = 25;
/** A client that has not read its answers for this long, at the limit or later, is disconnected. */
const UNREAD_MS = 10_000;

/** Stops an HTTP server without losing a request. */
export class HttpDrain {
  readonly requests = new Drain();
  readonly #server: FastifyInstance;
  readonly #running = new Map<IncomingMessage, ServerResponse>();
  readonly #connections: Pick<ConnectionTable, 'sockets'>;
  /** When all answers of a connection, by its name, were written, and are only to be read. */
  readonly #answeredMs = new Map<string, number>();

  /** Watches the requests of a server from here on. */
  constructor(server: FastifyInstance, connections: Pick<ConnectionTable, 'sockets'>) {
    this.#server = server;
    this.#connections = connections;
    server.addHook('onRequest', async ({ raw }, reply) => this.#watch(raw, reply.raw));
    server.addHook('onSend', async (_request, reply) => {
      if (this.requests.isDraining()) reply.header('connection', 'close');
    });
  }

  /**
   * Stops the server. It goes on accepting until requests stay away, or for `limitMs`, because a listener that closes at
   * once resets connections that the kernel has accepted and the server has not seen. Meanwhile readiness is false, and
   * every answer asks its client to close the connection. Requests that have arrived are answered, however long that
   * takes. At the limit, clients that have sent no request or a part of one are disconnected; later, clients that do not
   * read their answers.
   */
  async drain(limitMs: number): Promise<void> {
    const startMs = performance.now();
    const isLate = () => performance.now() - startMs >= limitMs;
    await this.requests.untilQuiet(limitMs);
    let isClosed = false;
    const closing = this.#server.close().finally(() => {
      isClosed = true;
    });
    // Node no longer times out slow clients of a server that closes.
    while (!isClosed) {
      if (isLate()) this.#disconnectIdle();
      await Promise.race([closing, sleep(CHECK_INTERVAL_MS)]);
    }
    await closing;
  }

  #watch(request: IncomingMessage, response: ServerResponse): void {
    this.#running.set(request, response);
    this.requests.begin();
    // Follows the answer, or the client's leaving before it.
    response.once('close', () => {
      this.#running.delete(request);
      this.requests.end();
    });
  }

  /** Closes the connections without a complete request, and those whose answers nobody has read for `UNREAD_MS`. */
  #disconnectIdle(): void {
    const computing = new Set<string | undefined>();
    const answered = new Set<string | undefined>();
    for (const [{ complete, socket }, { writableEnded }] of this.#running)
      if (complete) (writableEnded ? answered : computing).add(peerOf(socket));
    const nowMs = performance.now();
    for (const socket of this.#connections.sockets()) {
      const peer = peerOf(socket) ?? '';
      if (computing.has(peer)) continue;
      const sinceMs = this.#answeredMs.get(peer) ?? nowMs;
      this.#answeredMs.set(peer, sinceMs);
      if (!answered.has(peer) || nowMs - sinceMs >= UNREAD_MS) socket.destroy();
    }
  }
}
