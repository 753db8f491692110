import { maxHeaderSize, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { ConnectionError, FastifyRequest } from 'fastify';
import { errorAnswer } from '../../../protocol/error-answer.ts';
import { HandlerError, toHandlerError } from '../../../protocol/errors.ts';

/** Time for a client to read the refusal. Then its connection is closed, whose other half could stay open for ever. */
const LINGER_MS = 1_000;

/**
 * Answers a request that Node's parser refused, or that did not arrive in time, straight to its socket, and closes that.
 * @param isAnswering whether a request of this connection is being answered: its body ends early when the client leaves.
 * @returns the status; `undefined` if the client has left.
 */
export function answerBrokenRequest(error: ConnectionError, socket: Socket, isAnswering: boolean): number | undefined {
  if (!socket.writable || error.code === 'ECONNRESET' || (isAnswering && error.code === 'HPE_INVALID_EOF_STATE')) {
    socket.destroy();
    return undefined;
  }
  const { status, headers, body } = errorAnswer(fromConnectionError(error));
  const allHeaders = { ...headers, 'content-length': Buffer.byteLength(body), connection: 'close' };
  const lines = Object.entries(allHeaders).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  return status;
}

function fromConnectionError({ code }: ConnectionError): HandlerError {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new HandlerError('REQUEST_TIMEOUT', 'Expected the whole request to arrive in time, got part of it.');
    case 'HPE_HEADER_OVERFLOW':
      return new HandlerError(
        'INVALID_REQUEST',
        `Expected a request head of at most ${maxHeaderSize} bytes, got a longer one.`,
      );
    default:
      return new HandlerError('INVALID_REQUEST', 'Expected an HTTP request, got something that does not parse as one.');
  }
}

/** The error of a request that Fastify itself refused, with our code. */
export function fromServerError(error: unknown): HandlerError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'string' && code.startsWith('Z_')) {
    return new HandlerError(
      'INVALID_REQUEST',
      'Expected a body in the encoding that its content-encoding says, got one that does not decode.',
    );
  }
  switch (code) {
    case 'ECONNRESET':
    case 'EPIPE':
    case 'ERR_STREAM_PREMATURE_CLOSE':
      return new HandlerError('CANCELLED', 'Expected the whole body, but the client left.');
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new HandlerError('NOT_FOUND', 'Expected the name of a model, got one that is longer than any.');
    case 'FST_ERR_BAD_URL':
      return new HandlerError('INVALID_REQUEST', 'Expected a path that decodes as UTF-8, got another.');
    default:
      return toHandlerError(error);
  }
}

/** The error of a request whose path has no route. */
export function notFound({ method }: FastifyRequest): HandlerError {
  return new HandlerError(
    'NOT_FOUND',
    `Expected a path of this service (GET /openapi.json lists the main ones), got ${method} of another path.`,
  );
}
