import type { FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../app.ts';
import type { Admission } from '../../service/admission.ts';
import { createRequestLimit, type Place } from './request-limit.ts';
import type { MethodAnswer } from './route.ts';

/** The model that a request is for, as its path or the service has it. */
export type FindModel = (request: FastifyRequest) => InferlessModel;

/** Asks the model that was found, and answers. */
export type InferenceHandler = (
  request: FastifyRequest,
  reply: FastifyReply,
  model: InferlessModel,
  place: Place,
) => Promise<FastifyReply>;

/**
 * Makes the answer of a route that asks a model: its token, the model, the room in its queue and the limit of its client
 * are looked at before the body is read, so that neither strangers nor an overload make the service read one.
 */
export type RouteGuard = (find: FindModel, handler: InferenceHandler) => MethodAnswer;

/** The guard of all routes of a server: they count the requests of a client together. */
export function routeGuard(admission: Admission): RouteGuard {
  const limit = createRequestLimit(admission);
  return (find, handler) => ({
    async onRequest(request, reply) {
      const token = admission.checkToken(request.headers.authorization);
      if (token !== undefined) logWithToken(token, request, reply);
      find(request).requireRoom();
      limit.admit(token, request, reply);
    },
    handler: (request, reply) =>
      limit.handle(request, async (place) => await handler(request, reply, find(request), place)),
  });
}

/** Answers a request of a token; `undefined` where there are none. */
export type TokenHandler = (
  request: FastifyRequest,
  reply: FastifyReply,
  token: string | undefined,
) => FastifyReply | Promise<FastifyReply>;

/**
 * Makes the answer of a route that asks no model, and tells what only a token may know: that is looked at before the body
 * is read. Such requests are not counted: whoever has as many running as may can still ask for them.
 */
export type TokenGuard = (handler: TokenHandler) => MethodAnswer;

/** The guard of a server's routes that ask no model. */
export function tokenGuard({ checkToken }: Pick<Admission, 'checkToken'>): TokenGuard {
  const tokenOf = ({ headers }: FastifyRequest) => checkToken(headers.authorization);
  return (handler) => ({
    async onRequest(request, reply) {
      const token = tokenOf(request);
      if (token !== undefined) logWithToken(token, request, reply);
    },
    handler: (request, reply) => handler(request, reply, tokenOf(request)),
  });
}

/** What is logged of a request from here on says whose it is. */
function logWithToken(tokenDigest: string, request: FastifyRequest, reply: FastifyReply): void {
  request.log = request.log.child({ tokenDigest });
  reply.log = request.log;
}
