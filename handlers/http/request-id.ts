import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';

/** A request's own id, if it is one that may stand in a log. */
const requestIdPattern = /^[\w.:/+=-]{1,128}$/;

/** Source: W3C, Trace Context, section 3.2. */
const traceparentPattern = /^[\da-f]{2}-([\da-f]{32})-[\da-f]{16}-[\da-f]{2}/;

/** The id that a request is logged by: that of its `x-request-id`, else a new one. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && requestIdPattern.test(given) ? given : randomUUID();
}

/** Answers carry the id of their request; what is logged of a request that belongs to a trace says to which. */
export function addRequestIds(server: FastifyInstance): void {
  server.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    const [, traceId] = traceparentPattern.exec(String(request.headers['traceparent'] ?? '')) ?? [];
    if (traceId === undefined) return;
    request.log = request.log.child({ traceId });
    reply.log = request.log;
  });
}
