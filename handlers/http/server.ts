import type { Server } from 'node:http';
import { type FastifyHttpOptions, type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import type Handler from '../../app.ts';
import { errorCodes } from '../../protocol/errors.ts';
import { type Admission, createAdmission } from '../service/admission.ts';
import { LogOutput } from '../service/log-output.ts';
import type { Metrics } from '../service/metrics.ts';
import type { ServerSettings } from '../service/server-settings.ts';
import { doors } from './doors.ts';
import { HttpDrain } from './drain.ts';
import { addCompression } from './exchange/compression.ts';
import { acceptAnyContentType } from './exchange/content-type.ts';
import { routesOfDoor } from './exchange/door.ts';
import { sendError } from './exchange/reply.ts';
import { addRequestIds, nameRequest, requestIdOf } from './exchange/request-id.ts';
import { addRequestSpans, traceRequest } from './exchange/request-span.ts';
import { inferenceGuard, tokenGuard } from './exchange/route-guards.ts';
import { RouteTable } from './exchange/route-table.ts';
import { answerBrokenRequest, fromServerError, notFound } from './exchange/server-errors.ts';

/** The time for the whole request to arrive, and for its headers. Otherwise one that trickles in stays open for ever. */
const REQUEST_TIMEOUT_MS = 60_000;
const HEADERS_TIMEOUT_MS = 15_000;
const CONNECTION_CHECK_INTERVAL_MS = 5_000;

type CountAnswer = (status: number | undefined) => Promise<void>;

export type HttpServer = FastifyInstance & { readonly draining: HttpDrain };

/** The server of all HTTP doors. It does not listen yet, so that AWS Lambda can hand requests to it too. */
export function createServer(
  models: readonly Handler[],
  settings: ServerSettings,
  admission: Admission = createAdmission(settings),
  metrics?: Promise<Metrics>,
): HttpServer {
  const countAnswer: CountAnswer = async (status) => {
    if (status !== undefined) (await metrics)?.countAnswer('http', status);
  };
  const server = fastify(serverOptions(settings, countAnswer));
  const draining = addHooks(server, countAnswer);
  const routes = new RouteTable();
  const context = {
    models,
    settings,
    guard: inferenceGuard(admission, settings.requestTimeoutMs),
    tokenGuard: tokenGuard(admission),
    drain: draining.requests,
    metrics,
    log: server.log,
    onClose: (close: () => void) => void server.addHook('preClose', async () => close()),
  };
  for (const door of doors) door.add({ ...context, routes: routesOfDoor(door, routes) });
  routes.addTo(server);
  return Object.assign(server, { draining });
}

function serverOptions(settings: ServerSettings, countAnswer: CountAnswer) {
  return {
    logger: { level: settings.logLevel, stream: new LogOutput(), serializers: { req: loggedRequest } },
    genReqId: requestIdOf,
    bodyLimit: settings.maxBodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: CONNECTION_CHECK_INTERVAL_MS },
    exposeHeadRoutes: true,
    ...urlRewriting(settings),
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 200 },
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => void countAnswer(answerBrokenRequest(error, socket)),
    frameworkErrors(error, request, reply) {
      const refusal = fromServerError(error);
      traceRequest(request, reply); // A path that does not decode skips all hooks.
      nameRequest(request, reply);
      void countAnswer(errorCodes[refusal.code].http);
      void sendError(reply, refusal, request.log);
    },
  } satisfies FastifyHttpOptions<Server>;
}

/** Adds what every request passes, whatever its route, in this order. */
function addHooks(server: FastifyInstance, countAnswer: CountAnswer): HttpDrain {
  addRequestSpans(server);
  addRequestIds(server);
  server.addHook('onResponse', async (_request, reply) => await countAnswer(reply.statusCode));
  const draining = new HttpDrain(server);
  acceptAnyContentType(server);
  addCompression(server);
  server.setErrorHandler((error, request, reply) => sendError(reply, fromServerError(error), request.log));
  server.addHook('onRequest', async (request) => {
    if (request.is404) throw notFound(request); // Before the body is read, which may be a stranger's.
  });
  return draining;
}

/** The option of Fastify that applies the rewriters of all doors; nothing where the settings ask for none. */
function urlRewriting(settings: ServerSettings): Pick<FastifyHttpOptions<Server>, 'rewriteUrl'> {
  const rewriters = doors.flatMap(({ pathRewriter }) => pathRewriter?.(settings) ?? []);
  if (rewriters.length === 0) return {};
  return {
    rewriteUrl({ method = 'GET', url = '/' }) {
      const path = url.split('?', 1)[0] ?? url;
      const rewritten = rewriters.map((rewrite) => rewrite(method, path));
      return rewritten.find((result) => result !== undefined) ?? url;
    },
  };
}

/** A request as Fastify logs it, but without its query, which may hold a question or a signature. */
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
