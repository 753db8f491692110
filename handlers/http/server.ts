import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { errorCodes } from '../../protocol/errors.ts';
import { type Admission, createAdmission } from '../service/admission.ts';
import type { Metrics } from '../service/metrics.ts';
import { addBentomlRoutes } from './doors/bentoml/bentoml.ts';
import { addClipServiceRoutes } from './doors/bentoml/bentoml-clip.ts';
import { addCogRoutes } from './doors/cog/cog.ts';
import { addHuggingFaceRoutes } from './doors/hugging-face/hugging-face.ts';
import { addHealthRoutes } from './doors/kserve/health.ts';
import { addInferenceRoutes } from './doors/kserve/inference.ts';
import { addMetadataRoutes } from './doors/kserve/metadata.ts';
import { addObservabilityRoutes } from './doors/kserve/observability.ts';
import { addDocsRoutes } from './doors/page-and-docs/docs.ts';
import { addPageFiles } from './doors/page-and-docs/page.ts';
import { addRunpodRoutes } from './doors/runpod/runpod.ts';
import { addVertexRoutes } from './doors/vertex/vertex.ts';
import { vertexRewrite } from './doors/vertex/vertex-paths.ts';
import { addDraining, type Draining } from './drain.ts';
import { addCompression } from './exchange/compression.ts';
import { acceptAnyContentType } from './exchange/content-type.ts';
import { sendError } from './exchange/reply.ts';
import { addRequestIds, nameRequest, requestIdOf } from './exchange/request-id.ts';
import { addRequestSpans, traceRequest } from './exchange/request-span.ts';
import { routeGuard, tokenGuard } from './exchange/route-guards.ts';
import { answerBrokenRequest, fromServerError, notFound } from './exchange/server-errors.ts';

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
      void countAnswer(errorCodes[refused.code].http);
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
