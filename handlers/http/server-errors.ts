import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { ConnectionError, FastifyRequest } from 'fastify';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { httpStatus } from '../../protocol/http-status.ts';

/** A request must have arrived whole by then; without these three, a body that drips stays open for ever. */
export const REQUEST_TIMEOUT_MS = 60_000;

/** Answers what Node's parser refused, or a request that did not arrive in time, straight to its socket. */
export function answerBrokenRequest(error: ConnectionError, socket: Socket): void {
  if (!socket.writable) return;
  const timedOut = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const { code, message } = timedOut
    ? new HandlerError('REQUEST_TIMEOUT', `Expected the whole request within ${REQUEST_TIMEOUT_MS} ms, got part of it.`)
    : new HandlerError('INVALID_REQUEST', 'Expected an HTTP request, got something that does not parse as one.');
  const body = JSON.stringify({ error: message, code });
  const status = httpStatus[code];
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
  socket.end(`${head}\r\nconnection: close\r\n\r\n${body}`);
}

/** What Fastify itself refuses, in our codes. */
export function fromServerError(error: unknown): HandlerError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'string' && code.startsWith('Z_')) {
    return new HandlerError(
      'INVALID_REQUEST',
      'Expected a body in the encoding that its content-encoding says, got one that does not decode.',
    );
  }
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new HandlerError('PAYLOAD_TOO_LARGE', 'Expected a smaller request body: BLIP_MAX_BODY_BYTES bounds it.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new HandlerError(
        'INVALID_REQUEST',
        'Expected as many bytes in the body as its content-length says, got another number.',
      );
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new HandlerError('NOT_FOUND', 'Expected the name of a model, got a longer one than any has.');
    case 'FST_ERR_BAD_URL':
      return new HandlerError('INVALID_REQUEST', 'Expected a path that decodes as UTF-8, got another.');
    default:
      return toHandlerError(error);
  }
}

export function notFound(request: FastifyRequest): HandlerError {
  return new HandlerError(
    'NOT_FOUND',
    `Expected a path that this service has (GET /openapi.json lists most), got ${request.method} of another.`,
  );
}
