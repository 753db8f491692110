import type { FastifyBaseLogger, FastifyReply } from 'fastify';
import { errorAnswer } from '../../../protocol/error-answer.ts';
import { errorCodes, type HandlerError } from '../../../protocol/errors.ts';
import type { EncodedResponse } from '../../../protocol/inference-response.ts';
import { logInternal } from '../../service/log-internal.ts';
import { spanOf } from './request-span.ts';

/** Answers with exactly `application/json`, because some clients compare the header as a whole. */
export function sendJson(reply: FastifyReply, body: unknown, status = 200): FastifyReply {
  return reply
    .code(status)
    .header('content-type', 'application/json')
    .send(Buffer.from(JSON.stringify(body)));
}

/** The status of an answer about readiness, which probes look at. */
export function readinessStatus(isReady: boolean): number {
  return isReady ? 200 : errorCodes.NOT_READY.http;
}

/** Answers with plain text. */
export function sendText(reply: FastifyReply, text: string, status = 200): FastifyReply {
  return reply.code(status).header('content-type', 'text/plain; charset=utf-8').send(text);
}

/** Answers with JSON, or with JSON that is followed by binary tensors. */
export function sendEncoded(reply: FastifyReply, { body, jsonLength }: EncodedResponse): FastifyReply {
  if (jsonLength === undefined) return reply.header('content-type', 'application/json').send(body);
  return reply
    .header('content-type', 'application/octet-stream')
    .header('inference-header-content-length', String(jsonLength))
    .send(body);
}

/** Answers with an error. The cause of an internal one goes to the log. */
export function sendError(reply: FastifyReply, error: HandlerError, log: FastifyBaseLogger): FastifyReply {
  logInternal(error, log);
  spanOf(reply.request)?.setError(error.code);
  const { status, headers, body } = errorAnswer(error);
  // As bytes: Fastify adds a charset to the content type of texts.
  return reply.code(status).headers(headers).send(Buffer.from(body));
}
