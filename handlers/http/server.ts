import { type FastifyInstance, fastify } from 'fastify';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { addCompression } from './compression.ts';
import { addDraining, type Draining } from './drain.ts';
import { guardedInference } from './inference-routes.ts';
import { sendError } from './reply.ts';
import { addClipServiceRoutes } from './routes/clip-service.ts';
import { addHealthRoutes } from './routes/health.ts';
import { addInferenceRoutes } from './routes/inference.ts';
import { addMetadataRoutes } from './routes/metadata.ts';
import { answerBrokenRequest, fromServerError, notFound, REQUEST_TIMEOUT_MS } from './server-errors.ts';

/** Without these and the request's timeout, a body that drips stays open for ever. */
const HEADERS_TIMEOUT_MS = 15_000;
const CONNECTION_CHECK_INTERVAL_MS = 5_000;

/**
 * All that is served over HTTP, whoever listens: the Open Inference Protocol, and the doors of its peers.
 * Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
 */
export function createServer(
  models: readonly InferlessModel[],
  settings: Settings,
): FastifyInstance & { readonly draining: Draining } {
  const server = fastify({
    logger: { level: settings.logLevel },
    bodyLimit: settings.maxBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: CONNECTION_CHECK_INTERVAL_MS },
    exposeHeadRoutes: true,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 200 },
    return503OnClosing: false,
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => void sendError(reply, fromServerError(error), request.log),
  });
  const draining = addDraining(server);
  acceptAnyContentType(server);
  addCompression(server);
  server.setErrorHandler((error, request, reply) => sendError(reply, fromServerError(error), request.log));
  server.setNotFoundHandler((request, reply) => sendError(reply, notFound(request), request.log));
  addHealthRoutes(server, models, draining);
  addMetadataRoutes(server, models);
  const addInference = guardedInference(server, settings);
  addInferenceRoutes(addInference, models);
  addClipServiceRoutes(addInference, models);
  return Object.assign(server, { draining });
}

/** Clients send JSON under any content type, or none; the body is parsed where it is used. */
function acceptAnyContentType(server: FastifyInstance): void {
  server.addHook('onRequest', async (request) => {
    request.raw.headers['content-type'] = 'application/octet-stream'; // Fastify refuses types that do not parse.
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
}
