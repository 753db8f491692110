import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { HandlerError } from '../../../protocol/errors.ts';

/** Answers a request whose body was read. */
export type RouteHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>;

/** The answer of a path to one method. */
export interface MethodAnswer {
  readonly handler: RouteHandler;
  /** Runs before the body is read; it refuses a request by throwing. */
  readonly onRequest?: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
  /** The most bytes of the body, decoded; `undefined` for the limit of the server. */
  readonly bodyLimit?: number;
  /** Whether it only tells probes that the service lives. They know it by names and addresses of their own. */
  readonly isProbe?: boolean;
}

/** The answer to probes. */
export function probe(handler: RouteHandler): MethodAnswer {
  return { handler, isProbe: true };
}

/** Methods that paths answer, in the order of the header `Allow`. HEAD comes with GET. */
const answerableMethods = ['GET', 'POST', 'PUT'] as const;
type Method = (typeof answerableMethods)[number];

/** Every method that Fastify routes. */
const allMethods: readonly HTTPMethods[] = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'QUERY',
];

/** The answers of all paths. Several doors may answer a path, each another method; all other methods get 405. */
export class RouteTable {
  readonly #answers = new Map<string, Map<Method, MethodAnswer>>();

  /** @throws RangeError when the path has an answer to the method already. */
  add(path: string, method: Method, answer: MethodAnswer | RouteHandler): void {
    const answers = this.#answers.get(path) ?? new Map<Method, MethodAnswer>();
    if (answers.has(method)) throw new RangeError(`Expected one answer to ${method} ${path}, got two.`);
    answers.set(method, typeof answer === 'function' ? { handler: answer } : answer);
    this.#answers.set(path, answers);
  }

  /** Adds a route to the server for every answer, and for the refusal of all other methods. */
  addTo(server: FastifyInstance): void {
    for (const [url, answers] of this.#answers) {
      for (const [method, { isProbe = false, ...answer }] of answers)
        server.route({ method, url, ...answer, config: { isProbe } });
      refuseOtherMethods(server, url, (method) => answers.has(method));
    }
  }
}

/** Refuses other methods of a path with 405, before their bodies are read. */
function refuseOtherMethods(server: FastifyInstance, url: string, isAnswered: (method: Method) => boolean): void {
  const allowed = answerableMethods
    .filter(isAnswered)
    .flatMap((method): readonly HTTPMethods[] => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  const refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<never> => {
    reply.header('allow', allowed.join(', '));
    throw new HandlerError('METHOD_NOT_ALLOWED', `Expected ${allowed.join(' or ')}, got ${request.method}.`);
  };
  const method = allMethods.filter((other) => !allowed.includes(other));
  server.route({ method, url, onRequest: refuse, handler: refuse }); // Fastify requires a handler; it is never reached.
}
