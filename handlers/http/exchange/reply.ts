import type { FastifyBaseLogger, FastifyReply } from 'fastify';
import type { HandlerError } from '../../../protocol/errors.ts';
import { httpStatus } from '../../../protocol/http-status.ts';
import type { EncodedResponse } from '../../../protocol/inference-response.ts';
import { logInternal } from '../../service/log-internal.ts';
import { spanOf } from './request-span.ts';

/** Seconds that a refused client is asked to wait. */
export const RETRY_AFTER_SECONDS = 1;

/** Answers with exactly `application/json`: some clients compare it so. */
export function sendJson(reply: FastifyReply, body: unknown, status = 200): FastifyReply {
  return reply
    .code(status)
    .header('content-type', 'application/json')
    .send(Buffer.from(JSON.stringify(body)));
}

/** Answers with text as it is. */
export function sendText(reply: FastifyReply, text: string, status = 200): FastifyReply {
  return reply.code(status).header('content-type', 'text/plain; charset=utf-8').send(text);
}

/** Answers with JSON, or with JSON and tensors behind it. */
export function sendEncoded(reply: FastifyReply, { body, jsonLength }: EncodedResponse): FastifyReply {
  if (jsonLength === undefined) return reply.header('content-type', 'application/json').send(body);
  return reply
    .header('content-type', 'application/octet-stream')
    .header('inference-header-content-length', String(jsonLength))
    .send(body);
}

/** Answers with an error, in the one form that all have; what must stay inside goes to the log. */
export function sendError(reply: FastifyReply, error: HandlerError, log: FastifyBaseLogger): FastifyReply {
  const status = httpStatus[error.code];
  logInternal(error, log);
  spanOf(reply.request)?.setError(error.code);
  if (error.code === 'OVERLOADED' || error.code === 'NOT_READY')
    reply.header('retry-after', String(RETRY_AFTER_SECONDS));
  if (error.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer');
  if (error.code === 'UNSUPPORTED_ENCODING') reply.header('accept-encoding', 'gzip, deflate');
  return sendJson(reply, { error: error.message, code: error.code }, status);
}
