import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { Admission } from '../admission.ts';
import { createRequestLimit } from './request-limit.ts';
import { addRoutes, type MethodAnswer, type RouteHandler } from './route.ts';

/** The model that a request is for, as its path or the service has it. */
export type FindModel = (request: FastifyRequest) => InferlessModel;
export type InferenceHandler = (
  request: FastifyRequest,
  reply: FastifyReply,
  model: InferlessModel,
) => Promise<FastifyReply>;

/** Adds `POST path`, which asks a model. */
export type AddInferenceRoute = (path: string, find: FindModel, handler: InferenceHandler) => void;

/** Makes the answers of routes that are not open to everyone. */
export interface RouteGuard {
  /**
   * For what asks a model: its token, the model, and the limit of its client are looked at before the body is read, so
   * that strangers cannot make the service read one.
   */
  readonly ask: (find: FindModel, handler: InferenceHandler) => MethodAnswer;
  /** For what needs a token and no model. */
  readonly look: (handler: RouteHandler) => MethodAnswer;
}

/** The guard of all routes of a server: they count the requests of a client together. */
export function routeGuard(admission: Admission): RouteGuard {
  const limit = createRequestLimit(admission);
  const requireToken = (request: FastifyRequest, reply: FastifyReply) => {
    const token = admission.checkToken(request.headers.authorization);
    if (token !== undefined) logWithToken(token, request, reply);
    return token;
  };
  return {
    ask: (find, handler) => ({
      async onRequest(request, reply) {
        const token = requireToken(request, reply);
        if (find(request).model === undefined)
          throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
        limit.admit(token, request, reply);
      },
      handler: (request, reply) => limit.handle(request, async () => await handler(request, reply, find(request))),
    }),
    look: (handler) => ({
      async onRequest(request, reply) {
        requireToken(request, reply);
      },
      handler,
    }),
  };
}

/** Adds routes behind the guard. */
export function guardedInference(server: FastifyInstance, guard: RouteGuard): AddInferenceRoute {
  return (path, find, handler) => addRoutes(server, path, { POST: guard.ask(find, handler) });
}

/** What is logged of a request from here on says whose it is. */
function logWithToken(tokenDigest: string, request: FastifyRequest, reply: FastifyReply): void {
  request.log = request.log.child({ tokenDigest });
  reply.log = request.log;
}
