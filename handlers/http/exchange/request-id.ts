import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { requestIdFrom, traceIdFrom } from '../../service/request-identity.ts';
import { spanOf } from './request-span.ts';

/** The id that a request is logged by: the value of its `x-request-id`, or a new one. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  return requestIdFrom(headers['x-request-id']);
}

/** Adds the id of a request to its answer, and the id of its trace to its lines in the log. */
export function addRequestIds(server: FastifyInstance): void {
  server.addHook('onRequest', async (request, reply) => nameRequest(request, reply));
}

/** Adds both ids for one request. Requests that are refused before all hooks need this call. */
export function nameRequest(request: FastifyRequest, reply: FastifyReply): void {
  reply.header('x-request-id', request.id);
  const traceId = spanOf(request)?.traceId ?? traceIdFrom(request.headers['traceparent']);
  if (traceId === undefined) return;
  request.log = request.log.child({ traceId });
  reply.log = request.log;
}
