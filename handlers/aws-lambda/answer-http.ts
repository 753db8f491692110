import { METHODS } from 'node:http';
import type { FastifyInstance, HTTPMethods } from 'fastify';
import { errorAnswer } from '../../protocol/error-answer.ts';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { logInternal } from '../service/log-internal.ts';
import { requireAuthorizer } from './authorizer.ts';
import type { LambdaEnvironment } from './environment.ts';
import { type EventAnswer, type HttpEvent, type HttpRequest, readHttpEvent, withoutPrefix } from './http-event.ts';
import { type Clock, inTime, loadedInTime } from './invocation-clock.ts';
import { loadError } from './invocation-error.ts';
import { injectUntil } from './invocation-signal.ts';
import { isTransferHeader } from './transfer-headers.ts';

/** The content type of the only answers that are not text: JSON followed by binary tensors. */
const BYTES_CONTENT_TYPE = 'application/octet-stream';

/**
 * Answers an HTTP event as the HTTP server answers its request, by handing it to the same routes. Never throws: an event
 * that differs from those that AWS sends is answered with 400.
 */
export async function answerHttp(
  environment: LambdaEnvironment,
  event: HttpEvent,
  clock: Clock,
  basePath: string,
): Promise<EventAnswer> {
  const { settings, server } = environment;
  try {
    requireAuthorizer(settings);
    const request = readHttpEvent(event);
    await loadForClient(environment, clock);
    const path = withoutPrefix(request.path, basePath);
    return await inTime(clock, (until) => inject(server, { ...request, path }, until));
  } catch (thrown) {
    const error = toHandlerError(thrown);
    logInternal(error, server.log);
    return errorAnswer(error);
  }
}

async function loadForClient(environment: LambdaEnvironment, clock: Clock): Promise<void> {
  const loading = environment.load().catch((error: unknown) => {
    throw loadError(error);
  });
  await loadedInTime(clock, loading);
}

async function inject(server: FastifyInstance, request: HttpRequest, until: AbortSignal): Promise<EventAnswer> {
  const { method, path, query, headers, body, clientAddress } = request;
  const response = await injectUntil(until, server, {
    method: requireMethod(method),
    url: { pathname: path }, // As an object: in a text, two slashes would begin a host name.
    query,
    // API Gateway compresses by itself; binary answers would need its configuration.
    headers: withoutHeader(headers, 'accept-encoding'),
    ...(body === undefined ? {} : { payload: body }),
    ...(clientAddress === undefined ? {} : { remoteAddress: clientAddress }),
  });
  const answerHeaders = Object.entries(response.headers).filter(
    ([name, value]) => value !== undefined && !isTransferHeader(name),
  );
  const isBytes = response.headers['content-type'] === BYTES_CONTENT_TYPE;
  return {
    status: response.statusCode,
    headers: Object.fromEntries(answerHeaders.map(([name, value]) => [name, String(value)])),
    body: isBytes ? response.rawPayload : response.rawPayload.toString('utf8'),
  };
}

function withoutHeader(headers: HttpRequest['headers'], name: string): HttpRequest['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([other]) => other.toLowerCase() !== name));
}

/** Refuses what Node's parser refuses on a connection. */
function requireMethod(method: string): HTTPMethods {
  if (METHODS.includes(method)) return method as HTTPMethods; // Fastify names some of them; it has no route for the rest.
  throw new HandlerError('INVALID_REQUEST', 'Expected a method of HTTP, got another.');
}
