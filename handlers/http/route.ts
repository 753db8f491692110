import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { HandlerError } from '../../protocol/errors.ts';
import { sendError } from './reply.ts';

export type RouteHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>;

const methods: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Adds a route; its path answers other methods with 405. */
export function addRoute(
  server: FastifyInstance,
  method: 'GET' | 'POST',
  url: string,
  handler: RouteHandler,
  onRequest?: (request: FastifyRequest, reply: FastifyReply) => Promise<void>,
): void {
  server.route({ method, url, handler, ...(onRequest === undefined ? {} : { onRequest }) });
  const allowed = method === 'GET' ? ['GET', 'HEAD'] : [method];
  server.route({
    method: methods.filter((other) => !allowed.includes(other)),
    url,
    handler: (request, reply) => {
      const error = new HandlerError('METHOD_NOT_ALLOWED', `Expected ${allowed.join(' or ')}, got ${request.method}.`);
      return sendError(reply.header('allow', allowed.join(', ')), error, request.log);
    },
  });
}
