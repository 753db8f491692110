import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { loadTracing, type RequestSpan, startRequestSpan } from '../../service/tracing.ts';

/**
 * The methods that spans name; any other is `_OTHER`. A span leaves the query out, as the log does, because it may hold a
 * question or a signature.
 * Source: OpenTelemetry's semantic conventions for HTTP spans, which are stable.
 */
const knownMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT'];

/** Statuses from here on are faults of the server. */
const FIRST_FAULT_STATUS = 500;

const spans = new WeakMap<FastifyRequest, RequestSpan>();

/** Gives every request a span, if OpenTelemetry is installed. It loads while the server starts, before the first request. */
export function addRequestSpans(server: FastifyInstance): void {
  const loading = loadTracing(server.log);
  server.addHook('onReady', async () => await loading);
  server.addHook('onRequest', async (request, reply) => traceRequest(request, reply));
}

/** Begins the span of one request. Requests that are refused before all hooks need this call. */
export function traceRequest(request: FastifyRequest, reply: FastifyReply): void {
  const span = startRequestSpan({ ...descriptionOf(request), headers: request.headers });
  if (span === undefined) return;
  spans.set(request, span);
  const end = () => {
    const { headersSent, statusCode } = reply.raw;
    span.end(
      headersSent ? { 'http.response.status_code': statusCode } : {},
      headersSent && statusCode >= FIRST_FAULT_STATUS,
    );
  };
  const leave = () => {
    span.setError('CANCELLED');
    end();
  };
  reply.raw.once('close', leave); // The client left. After an answer this event comes too.
  reply.raw.once('finish', () => {
    reply.raw.off('close', leave);
    end();
  });
}

/** The span of a request; `undefined` without OpenTelemetry. */
export function spanOf(request: FastifyRequest): RequestSpan | undefined {
  return spans.get(request);
}

function descriptionOf({ method, originalUrl, protocol, routeOptions }: FastifyRequest) {
  const { url: route } = routeOptions;
  const isKnown = knownMethods.includes(method);
  const namedMethod = isKnown ? method : 'HTTP';
  return {
    name: route === undefined ? namedMethod : `${namedMethod} ${route}`,
    attributes: {
      'http.request.method': isKnown ? method : '_OTHER',
      ...(isKnown ? {} : { 'http.request.method_original': method }),
      ...(route === undefined ? {} : { 'http.route': route }),
      'url.path': originalUrl.split('?', 1)[0] ?? '',
      'url.scheme': protocol,
    },
  };
}
