import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { requestIdFrom, traceIdFrom } from '../../service/request-identity.ts';
import { spanOf } from './request-span.ts';

/** The id that a request is logged by: that of its `x-request-id`, else a new one. */
export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  return requestIdFrom(headers['x-request-id']);
}

/** Answers carry the id of their request, and what is logged of it the trace that it belongs to. */
export function addRequestIds(server: FastifyInstance): void {
  server.addHook('onRequest', async (request, reply) => nameRequest(request, reply));
}

/** The same of one request: for those that are refused before any hook. */
export function nameRequest(request: FastifyRequest, reply: FastifyReply): void {
  reply.header('x-request-id', request.id);
  const traceId = spanOf(request)?.traceId ?? traceIdFrom(request.headers['traceparent']);
  if (traceId === undefined) return;
  request.log = request.log.child({ traceId });
  reply.log = request.log;
}
