import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { bearerTokenCheck } from './bearer-token.ts';
import { createRequestLimit } from './request-limit.ts';
import { addRoute } from './route.ts';

/** Whose requests are counted together where there are no tokens. */
const ANONYMOUS = 'anonymous';

/** The model that a request is for, as its path or the service has it. */
export type FindModel = (request: FastifyRequest) => InferlessModel;
export type InferenceHandler = (
  request: FastifyRequest,
  reply: FastifyReply,
  model: InferlessModel,
) => Promise<FastifyReply>;

/** Adds `POST path`, which asks a model. */
export type AddInferenceRoute = (path: string, find: FindModel, handler: InferenceHandler) => void;

/**
 * The guard that every route which asks a model has: its token, the model, and the limit of its client are looked at
 * before the body is read, so that strangers cannot make the service read one.
 */
export function guardedInference(server: FastifyInstance, settings: Settings): AddInferenceRoute {
  const checkToken = bearerTokenCheck(settings.apiTokens);
  const limit = createRequestLimit(settings.maxRequestsPerToken);
  const guard = (find: FindModel) => async (request: FastifyRequest, reply: FastifyReply) => {
    const token = checkToken(request.headers.authorization);
    if (token !== undefined) logWithToken(token, request, reply);
    if (find(request).model === undefined)
      throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
    limit.admit(token ?? ANONYMOUS, request, reply);
  };
  return (path, find, handler) => {
    const counted = (request: FastifyRequest, reply: FastifyReply) =>
      limit.handle(request, async () => await handler(request, reply, find(request)));
    addRoute(server, 'POST', path, counted, guard(find));
  };
}

/** What is logged of a request from here on says whose it is. */
function logWithToken(tokenDigest: string, request: FastifyRequest, reply: FastifyReply): void {
  request.log = request.log.child({ tokenDigest });
  reply.log = request.log;
}
