import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { HandlerError } from '../../protocol/errors.ts';
import { sendError } from './reply.ts';

export type RouteHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>;

/** What a path answers one method with. */
export interface MethodAnswer {
  readonly handler: RouteHandler;
  /** Comes before the body is read; it refuses by throwing. */
  readonly onRequest?: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
}

type Method = 'GET' | 'POST' | 'PUT';

const methods: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Adds a route; its path answers other methods with 405. */
export function addRoute(
  server: FastifyInstance,
  method: Method,
  url: string,
  handler: RouteHandler,
  onRequest?: MethodAnswer['onRequest'],
): void {
  addRoutes(server, url, { [method]: { handler, ...(onRequest === undefined ? {} : { onRequest }) } });
}

/** Adds all that a path answers; it answers other methods with 405. */
export function addRoutes(
  server: FastifyInstance,
  url: string,
  answers: { readonly [Name in Method]?: MethodAnswer },
): void {
  const given = Object.entries(answers);
  for (const [method, answer] of given) server.route({ method, url, ...answer });
  const allowed = given.flatMap(([method]) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  server.route({
    method: methods.filter((other) => !allowed.includes(other)),
    url,
    handler: (request, reply) => {
      const error = new HandlerError('METHOD_NOT_ALLOWED', `Expected ${allowed.join(' or ')}, got ${request.method}.`);
      return sendError(reply.header('allow', allowed.join(', ')), error, request.log);
    },
  });
}
