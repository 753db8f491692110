import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { httpStatus } from '../../protocol/http-status.ts';
import { type Admission, createAdmission } from '../admission.ts';
import type { Metrics } from '../metrics.ts';
import { addCompression } from './compression.ts';
import { acceptAnyContentType } from './content-type.ts';
import { addDraining, type Draining } from './drain.ts';
import { routeGuard, tokenGuard } from './inference-routes.ts';
import { sendError } from './reply.ts';
import { addRequestIds, nameRequest, requestIdOf } from './request-id.ts';
import { addRequestSpans, traceRequest } from './request-span.ts';
import { addBentomlRoutes } from './routes/bentoml.ts';
import { addClipServiceRoutes } from './routes/clip-service.ts';
import { addCogRoutes } from './routes/cog.ts';
import { addDocsRoutes } from './routes/docs.ts';
import { addHealthRoutes } from './routes/health.ts';
import { addHuggingFaceRoutes } from './routes/hugging-face.ts';
import { addInferenceRoutes } from './routes/inference.ts';
import { addMetadataRoutes } from './routes/metadata.ts';
import { addObservabilityRoutes } from './routes/observability.ts';
import { addPageFiles } from './routes/page.ts';
import { addRunpodRoutes } from './routes/runpod.ts';
import { addVertexRoutes } from './routes/vertex.ts';
import { answerBrokenRequest, fromServerError, notFound } from './server-errors.ts';
import { vertexRewrite } from './vertex-paths.ts';

/** A request must have arrived whole by then, and its headers earlier: else one that drips stays open for ever. */
const REQUEST_TIMEOUT_MS = 60_000;
const HEADERS_TIMEOUT_MS = 15_000;
const CONNECTION_CHECK_INTERVAL_MS = 5_000;

/**
 * All that is served over HTTP, whoever listens: the Open Inference Protocol, and the doors of its peers.
 * Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
 */
export function createServer(
  models: readonly InferlessModel[],
  settings: Settings,
  admission: Admission = createAdmission(settings),
  metrics?: Promise<Metrics>,
): FastifyInstance & { readonly draining: Draining } {
  const countAnswer = async (status: number | undefined) => {
    if (status !== undefined) (await metrics)?.countAnswer('http', status);
  };
  const server = fastify({
    logger: { level: settings.logLevel, serializers: { req: loggedRequest } },
    genReqId: requestIdOf,
    bodyLimit: settings.maxBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: CONNECTION_CHECK_INTERVAL_MS },
    exposeHeadRoutes: true,
    rewriteUrl: vertexRewrite(settings),
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 200 },
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => void countAnswer(answerBrokenRequest(error, socket)),
    frameworkErrors(error, request, reply) {
      const refused = fromServerError(error);
      traceRequest(request, reply); // A path that does not decode comes past all hooks.
      nameRequest(request, reply);
      void countAnswer(httpStatus[refused.code]);
      void sendError(reply, refused, request.log);
    },
  });
  addRequestSpans(server);
  addRequestIds(server);
  server.addHook('onResponse', async (_request, reply) => await countAnswer(reply.statusCode));
  const draining = addDraining(server);
  acceptAnyContentType(server);
  addCompression(server);
  server.setErrorHandler((error, request, reply) => sendError(reply, fromServerError(error), request.log));
  server.addHook('onRequest', async (request) => {
    if (request.is404) throw notFound(request); // Before its body is read, which may be a stranger's.
  });
  addHealthRoutes(server, models, draining);
  addMetadataRoutes(server, models);
  addObservabilityRoutes(server, models, metrics);
  const guard = routeGuard(admission);
  addInferenceRoutes(server, guard, models);
  addClipServiceRoutes(server, guard, models);
  addBentomlRoutes(server, guard, models, draining);
  addHuggingFaceRoutes(server, guard, models, draining);
  addPageFiles(server);
  addDocsRoutes(server, models);
  addVertexRoutes(server, guard, models, draining);
  addCogRoutes(server, guard, models, draining);
  const tokenCount = settings.apiTokens.length;
  addRunpodRoutes(server, { guard, tokenGuard: tokenGuard(admission), models, draining, tokenCount });
  return Object.assign(server, { draining });
}

/** A request as it is logged: as Fastify does, but without its query, which may hold a question or a signature. */
function loggedRequest({ method, url, headers, host, ip, socket }: FastifyRequest) {
  const version = headers['accept-version'];
  return {
    method,
    url: url.split('?', 1)[0] ?? '',
    ...(typeof version === 'string' ? { version } : {}),
    host,
    remoteAddress: ip,
    ...(socket.remotePort === undefined ? {} : { remotePort: socket.remotePort }),
  };
}
