import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { type FastifyHttpOptions, type FastifyInstance, fastify } from 'fastify';
import type Handler from '../../app.ts';
import { errorCodes } from '../../protocol/errors.ts';
import { type Admission, createAdmission } from '../service/admission.ts';
import { ConnectionTable, connectionLimit } from '../service/connection-table.ts';
import type { Metrics } from '../service/metrics.ts';
import type { ServerSettings } from '../service/server-settings.ts';
import type { TlsFiles } from '../service/tls-files.ts';
import { doors } from './doors.ts';
import { HttpDrain } from './drain.ts';
import { addBrowserGuard } from './exchange/browser-guard.ts';
import { addCompression } from './exchange/compression.ts';
import { acceptAnyContentType } from './exchange/content-type.ts';
import { type DoorContext, routesOfDoor } from './exchange/door.ts';
import { reportLeftClients } from './exchange/left-clients.ts';
import { sendError } from './exchange/reply.ts';
import { addRequestIds, nameRequest, requestIdOf } from './exchange/request-id.ts';
import { addRequestSpans, traceRequest } from './exchange/request-span.ts';
import { addAdmittedRequests, inferenceGuard, tokenGuard } from './exchange/route-guards.ts';
import { RouteTable } from './exchange/route-table.ts';
import { answerBrokenRequest, fromServerError, notFound } from './exchange/server-errors.ts';
import { HttpListener, type ListenerOptions } from './listener.ts';
import { requestLog } from './request-log.ts';

type CountAnswer = (status: number | undefined) => Promise<void>;

export type HttpServer = FastifyInstance & { readonly draining: HttpDrain; readonly listener: HttpListener };

/**
 * The server of all HTTP doors. It does not listen yet, so that AWS Lambda can hand requests to it too.
 * @param tls `undefined` for plain HTTP.
 */
export function createServer(
  models: readonly Handler[],
  settings: ServerSettings,
  admission: Admission = createAdmission(settings),
  metrics?: Promise<Metrics>,
  tls?: TlsFiles,
): HttpServer {
  const countAnswer: CountAnswer = async (status) => {
    if (status !== undefined) (await metrics)?.countAnswer('http', status);
  };
  const refused = new WeakSet<Socket>();
  const log = { warn: (details: object, message: string) => server.log.warn(details, message) };
  const connections = new ConnectionTable(maxConnections(settings), log);
  const refuse: ListenerOptions['refuse'] = (error, socket) => {
    const status = answerBrokenRequest(error, socket, connections.isAnswering(socket));
    if (status !== undefined) refused.add(socket);
    void countAnswer(status);
  };
  const listener = new HttpListener({ connections, tls, refuse });
  const server = fastify({
    ...serverOptions(settings, countAnswer),
    clientErrorHandler: refuse,
    serverFactory: (answer) => listener.create(answer),
  });
  reportLeftClients(server, (socket) => refused.has(socket), countAnswer);
  server.addHook('onClose', async () => await listener.close());
  const draining = addHooks(server, countAnswer, connections, settings);
  routesOfDoors({
    models,
    settings,
    guard: inferenceGuard(admission, settings.requestTimeoutMs),
    tokenGuard: tokenGuard(admission),
    drain: draining.requests,
    metrics,
    log: server.log,
    onClose: (close) => void server.addHook('preClose', async () => await close()),
  }).addTo(server);
  return Object.assign(server, { draining, listener });
}

/** The routes of all doors. */
function routesOfDoors(context: Omit<DoorContext, 'routes'>): RouteTable {
  const routes = new RouteTable();
  for (const door of doors) door.add({ ...context, routes: routesOfDoor(door, routes) });
  return routes;
}

function maxConnections({ maxConnections: maximum, grpcPort }: ServerSettings): number {
  return connectionLimit(maximum, grpcPort === undefined ? 1 : 2);
}

function serverOptions(settings: ServerSettings, countAnswer: CountAnswer) {
  return {
    logger: requestLog(settings),
    genReqId: requestIdOf,
    bodyLimit: settings.maxBodyBytes,
    exposeHeadRoutes: true,
    ...urlRewriting(settings),
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 200 },
    return503OnClosing: false,
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
function addHooks(
  server: FastifyInstance,
  countAnswer: CountAnswer,
  connections: ConnectionTable,
  settings: ServerSettings,
): HttpDrain {
  addRequestSpans(server);
  addRequestIds(server);
  server.addHook('onResponse', async (_request, reply) => await countAnswer(reply.statusCode));
  const draining = new HttpDrain(server, connections);
  addBrowserGuard(server, settings);
  addAdmittedRequests(server);
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
