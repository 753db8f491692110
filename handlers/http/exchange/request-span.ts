import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { loadTracing, type RequestSpan, startRequestSpan } from '../../service/tracing.ts';

/**
 * Source: OpenTelemetry's semantic conventions for HTTP spans, which are stable; any other method is `_OTHER`. The query
 * stays out, as of the log: it may hold a question or a signature.
 */
const knownMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT'];

const FIRST_FAULT = 500;

const spans = new WeakMap<FastifyRequest, RequestSpan>();

/** Every request has a span, where OpenTelemetry is there: it is loaded beside all else, and before the first request. */
export function addRequestSpans(server: FastifyInstance): void {
  const loading = loadTracing(server.log);
  server.addHook('onReady', async () => await loading);
  server.addHook('onRequest', async (request, reply) => traceRequest(request, reply));
}

/** Begins the span of one request: for those that are refused before any hook. */
export function traceRequest(request: FastifyRequest, reply: FastifyReply): void {
  const span = startRequestSpan({ ...descriptionOf(request), headers: request.headers });
  if (span === undefined) return;
  spans.set(request, span);
  const end = () => {
    const { headersSent, statusCode } = reply.raw;
    span.end(headersSent ? { 'http.response.status_code': statusCode } : {}, headersSent && statusCode >= FIRST_FAULT);
  };
  const leave = () => {
    span.setError('CANCELLED');
    end();
  };
  reply.raw.once('close', leave); // Of the client. It comes after the answer too.
  reply.raw.once('finish', () => {
    reply.raw.off('close', leave);
    end();
  });
}

/** The span of a request; `undefined` where there are none. */
export function spanOf(request: FastifyRequest): RequestSpan | undefined {
  return spans.get(request);
}

function descriptionOf({ method, originalUrl, protocol, routeOptions }: FastifyRequest) {
  const { url: route } = routeOptions;
  const isKnown = knownMethods.includes(method);
  const spoken = isKnown ? method : 'HTTP';
  return {
    name: route === undefined ? spoken : `${spoken} ${route}`,
    attributes: {
      'http.request.method': isKnown ? method : '_OTHER',
      ...(isKnown ? {} : { 'http.request.method_original': method }),
      ...(route === undefined ? {} : { 'http.route': route }),
      'url.path': originalUrl.split('?', 1)[0] ?? '',
      'url.scheme': protocol,
    },
  };
}
