import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { HandlerError } from '../../../protocol/errors.ts';

/** Answers a request whose body was read. */
export type RouteHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>;

/** What a path answers one method with. */
export interface MethodAnswer {
  readonly handler: RouteHandler;
  /** Comes before the body is read; it refuses by throwing. */
  readonly onRequest?: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
  /** The most bytes of its body, decoded; those of the server where it is absent. */
  readonly bodyLimit?: number;
}

type Method = 'GET' | 'POST' | 'PUT';

const methods: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'QUERY'];

/** Adds a route; its path answers other methods with 405. */
export function addRoute(server: FastifyInstance, method: Method, url: string, handler: RouteHandler): void {
  addRoutes(server, url, { [method]: { handler } });
}

/** Adds all that a path answers; it answers other methods with 405, before their bodies are read. */
export function addRoutes(
  server: FastifyInstance,
  url: string,
  answers: { readonly [Name in Method]?: MethodAnswer },
): void {
  const given = Object.entries(answers);
  for (const [method, answer] of given) server.route({ method, url, ...answer });
  const allowed = given.flatMap(([method]) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  const refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<never> => {
    reply.header('allow', allowed.join(', '));
    throw new HandlerError('METHOD_NOT_ALLOWED', `Expected ${allowed.join(' or ')}, got ${request.method}.`);
  };
  const method = methods.filter((other) => !allowed.includes(other));
  server.route({ method, url, onRequest: refuse, handler: refuse }); // Fastify wants a handler; it is not reached.
}
