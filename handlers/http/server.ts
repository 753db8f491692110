import { type FastifyInstance, fastify } from 'fastify';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { type Admission, createAdmission } from '../admission.ts';
import type { Metrics } from '../metrics.ts';
import { addCompression } from './compression.ts';
import { acceptAnyContentType } from './content-type.ts';
import { addDraining, type Draining } from './drain.ts';
import { guardedInference, routeGuard } from './inference-routes.ts';
import { sendError } from './reply.ts';
import { addRequestIds, requestIdOf } from './request-id.ts';
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
import { answerBrokenRequest, fromServerError, notFound, REQUEST_TIMEOUT_MS } from './server-errors.ts';
import { vertexRewrite } from './vertex-paths.ts';

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
  admission: Admission = createAdmission(settings),
  metrics?: Promise<Metrics>,
): FastifyInstance & { readonly draining: Draining } {
  const server = fastify({
    logger: { level: settings.logLevel },
    genReqId: requestIdOf,
    bodyLimit: settings.maxBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: CONNECTION_CHECK_INTERVAL_MS },
    exposeHeadRoutes: true,
    rewriteUrl: vertexRewrite(settings),
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 200 },
    return503OnClosing: false,
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => void sendError(reply, fromServerError(error), request.log),
  });
  addRequestIds(server);
  const draining = addDraining(server);
  acceptAnyContentType(server);
  addCompression(server);
  server.setErrorHandler((error, request, reply) => sendError(reply, fromServerError(error), request.log));
  server.setNotFoundHandler((request, reply) => sendError(reply, notFound(request), request.log));
  addHealthRoutes(server, models, draining);
  addMetadataRoutes(server, models);
  addObservabilityRoutes(server, models, metrics);
  const guard = routeGuard(admission);
  const addInference = guardedInference(server, guard);
  addInferenceRoutes(addInference, models);
  addClipServiceRoutes(addInference, models);
  addBentomlRoutes(server, addInference, models, draining);
  addHuggingFaceRoutes(server, guard, models, draining);
  addPageFiles(server);
  addDocsRoutes(server, models);
  addVertexRoutes(server, guard, models, draining);
  addCogRoutes(server, guard, models, draining);
  addRunpodRoutes(addInference, models);
  return Object.assign(server, { draining });
}
