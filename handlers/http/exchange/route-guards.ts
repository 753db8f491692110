import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type Handler from '../../../app.ts';
import type { Admission } from '../../service/admission.ts';
import type { AdmittedRequest } from '../../service/admitted-request.ts';
import type { InferenceCall } from './inference-call.ts';
import { refuseInputsInQuery } from './query-names.ts';
import type { MethodAnswer } from './route-table.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** A request for inference, once it is let in. Its body is read after that. */
    admitted: AdmittedRequest | undefined;
  }
}

/** Gives every request its place for what admits it. */
export function addAdmittedRequests(server: FastifyInstance): void {
  server.decorateRequest('admitted', undefined);
}

/** Finds the model that a request is for. */
export type FindModel = (request: FastifyRequest) => Handler;

/** Asks the model of a call, and answers. */
export type InferenceHandler = (call: InferenceCall) => Promise<FastifyReply>;

/**
 * Makes the answer of a route that asks a model. It checks the token, the model, the room in its queue and the limit of
 * the client before the body is read, so that neither strangers nor an overload make the service read one.
 */
export type InferenceGuard = (
  find: FindModel,
  handler: InferenceHandler,
  options?: { readonly readsQuery?: boolean },
) => MethodAnswer;

/**
 * The guard of all inference routes of a server. They count the requests of a client together.
 * @param timeLimitMs the most milliseconds that a request may take; `undefined` for any time.
 */
export function inferenceGuard(admission: Admission, timeLimitMs: number | undefined): InferenceGuard {
  return (find, handler, { readsQuery = false } = {}) => ({
    async onRequest(request, reply) {
      const token = checkToken(admission, request, reply);
      if (!readsQuery) refuseInputsInQuery(request);
      find(request).requireRoom(token);
      const admitted = admission.admit(token);
      request.admitted = admitted;
      // A body that is refused or never arrives completely has no handler. This event follows in any case.
      reply.raw.once('close', () => admitted.leaveUnlessHandled());
    },
    async handler(request, reply) {
      const { admitted } = request;
      if (admitted === undefined) throw new RangeError('Expected a request that was admitted.');
      return await admitted.handle(
        async () => await handler({ request, reply, model: find(request), admitted, timeLimitMs }),
      );
    },
  });
}

/** Answers a request of a token; `undefined` where there are no tokens. */
export type TokenHandler = (
  request: FastifyRequest,
  reply: FastifyReply,
  token: string | undefined,
) => FastifyReply | Promise<FastifyReply>;

/**
 * Makes the answer of a route that asks no model but tells what only a token may know. It checks the token before the
 * body is read. Such requests are not counted, so that a client at its limit can still ask for its jobs.
 */
export type TokenGuard = (handler: TokenHandler) => MethodAnswer;

/** The guard of a server's routes that need a token and ask no model. */
export function tokenGuard(admission: Pick<Admission, 'checkToken'>): TokenGuard {
  return (handler) => ({
    async onRequest(request, reply) {
      checkToken(admission, request, reply);
    },
    handler: (request, reply) => handler(request, reply, admission.checkToken(request.headers.authorization)),
  });
}

/**
 * Checks the token of a request, and adds its name to the lines that are logged from here on.
 * @throws HandlerError `UNAUTHORIZED`.
 */
function checkToken(
  admission: Pick<Admission, 'checkToken'>,
  request: FastifyRequest,
  reply: FastifyReply,
): string | undefined {
  const tokenDigest = admission.checkToken(request.headers.authorization);
  if (tokenDigest === undefined) return undefined;
  request.log = request.log.child({ tokenDigest });
  reply.log = request.log;
  return tokenDigest;
}
