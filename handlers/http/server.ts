import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import {
  type ConnectionError,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  type HTTPMethods,
} from 'fastify';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { httpStatus } from '../../protocol/http-status.ts';
import { readInferenceRequest } from '../../protocol/inference-request.ts';
import { inferenceResponse } from '../../protocol/inference-response.ts';
import { MODEL_VERSION, modelMetadata } from '../../protocol/metadata.ts';
import { bearerTokenCheck } from './bearer-token.ts';
import { encodeItems, rankItems, requireClip } from './clip-service.ts';
import { addDraining, type Draining } from './drain.ts';
import { createRequestLimit } from './request-limit.ts';
import { version } from './version.ts';

/** Seconds that a refused client is asked to wait. */
const RETRY_AFTER_SECONDS = 1;
/** Whose requests are counted together where there are no tokens. */
const ANONYMOUS = 'anonymous';
/** A request must have arrived whole by then; without these three, a body that drips stays open for ever. */
const REQUEST_TIMEOUT_MS = 60_000;
const HEADERS_TIMEOUT_MS = 15_000;
const CONNECTION_CHECK_INTERVAL_MS = 5_000;

interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

/**
 * The Open Inference Protocol over HTTP.
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
  server.setErrorHandler((error, request, reply) => sendError(reply, fromServerError(error), request.log));
  server.setNotFoundHandler((request, reply) => sendError(reply, notFound(request), request.log));
  addHealthRoutes(server, models, draining);
  addMetadataRoutes(server, models);
  addInferenceRoutes(server, models, settings);
  return Object.assign(server, { draining });
}

/** Answers with exactly `application/json`: some clients compare it so. */
function sendJson(reply: FastifyReply, body: unknown, status = 200): FastifyReply {
  return reply
    .code(status)
    .header('content-type', 'application/json')
    .send(Buffer.from(JSON.stringify(body)));
}

function sendError(reply: FastifyReply, error: HandlerError, log: FastifyBaseLogger): FastifyReply {
  const status = httpStatus[error.code];
  logInternal(error, log);
  if (error.code === 'OVERLOADED' || error.code === 'NOT_READY')
    reply.header('retry-after', String(RETRY_AFTER_SECONDS));
  if (error.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer');
  if (error.code === 'UNSUPPORTED_ENCODING') reply.header('accept-encoding', 'identity');
  return sendJson(reply, { error: error.message, code: error.code }, status);
}

/** What a client is told nothing of. */
function logInternal(error: HandlerError, log: FastifyBaseLogger): void {
  if (error.code === 'INTERNAL') log.error({ err: error.cause ?? error }, 'failed inside');
}

/** Answers what Node's parser refused, or a request that did not arrive in time, straight to its socket. */
function answerBrokenRequest(error: ConnectionError, socket: Socket): void {
  if (!socket.writable) return;
  const timedOut = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const { code, message } = timedOut
    ? new HandlerError('REQUEST_TIMEOUT', `Expected the whole request within ${REQUEST_TIMEOUT_MS} ms, got part of it.`)
    : new HandlerError('INVALID_REQUEST', 'Expected an HTTP request, got something that does not parse as one.');
  const body = JSON.stringify({ error: message, code });
  const status = httpStatus[code];
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
  socket.end(`${head}\r\nconnection: close\r\n\r\n${body}`);
}

/** What Fastify itself refuses, in our codes. */
function fromServerError(error: unknown): HandlerError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new HandlerError('PAYLOAD_TOO_LARGE', 'Expected a smaller request body: BLIP_MAX_BODY_BYTES bounds it.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new HandlerError(
        'INVALID_REQUEST',
        'Expected as many bytes in the body as its content-length says, got another number.',
      );
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new HandlerError('NOT_FOUND', 'Expected the name of a model, got a longer one than any has.');
    case 'FST_ERR_BAD_URL':
      return new HandlerError('INVALID_REQUEST', 'Expected a path that decodes as UTF-8, got another.');
    default:
      return toHandlerError(error);
  }
}

function notFound(request: FastifyRequest): HandlerError {
  return new HandlerError(
    'NOT_FOUND',
    `Expected a path of the Open Inference Protocol, got ${request.method} of another.`,
  );
}

/** Clients send JSON under any content type, or none; the body is parsed where it is used. */
function acceptAnyContentType(server: FastifyInstance): void {
  server.addHook('onRequest', async (request) => {
    request.raw.headers['content-type'] = 'application/octet-stream'; // Fastify refuses types that do not parse.
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
}

function addHealthRoutes(server: FastifyInstance, models: readonly InferlessModel[], draining: Draining): void {
  const isReady = ({ model }: InferlessModel) => model?.isHealthy() === true && !draining.isDraining();
  addRoute(server, 'GET', '/v2/health/live', (_request, reply) => sendJson(reply, { live: true }));
  addRoute(server, 'GET', '/v2/health/ready', (_request, reply) => {
    const ready = models.every(isReady);
    return sendJson(reply, { live: true, ready }, ready ? 200 : 503);
  });
  for (const path of modelPaths('/ready')) {
    addRoute(server, 'GET', path, (request, reply) => {
      // A model that is named by its task has no name before it is loaded: whatever is asked for may be it.
      const { model: name } = request.params as ModelPath; // The routes name it.
      const ready = models.some(isUnnamed) ? false : isReady(requireModel(request, models));
      return sendJson(reply, { name, ready }, ready ? 200 : 503);
    });
  }
}

function addMetadataRoutes(server: FastifyInstance, models: readonly InferlessModel[]): void {
  // Inferless reads the model's name from here; the protocol would have the server's.
  addRoute(server, 'GET', '/v2', (_request, reply) =>
    sendJson(reply, { name: namesOf(models)[0], version, extensions: [] }),
  );
  addRoute(server, 'GET', '/v2/models', (_request, reply) => sendJson(reply, { models: namesOf(models) }));
  for (const path of modelPaths('')) {
    addRoute(server, 'GET', path, (request, reply) => {
      const model = requireModel(request, models);
      return sendJson(reply, modelMetadata(model.name ?? '', model.schema));
    });
  }
}

function addInferenceRoutes(server: FastifyInstance, models: readonly InferlessModel[], settings: Settings): void {
  const checkToken = bearerTokenCheck(settings.apiTokens);
  const limit = createRequestLimit(settings.maxRequestsPerToken);
  // Before the body is read, so that strangers cannot make the service read one.
  const guard = (find: FindModel) => async (request: FastifyRequest, reply: FastifyReply) => {
    const token = checkToken(request.headers.authorization);
    if (token !== undefined) logWithToken(token, request, reply);
    const { model } = find(request);
    requireIdentity(request.headers['content-encoding']);
    if (model === undefined)
      throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
    limit.admit(token ?? ANONYMOUS, request, reply);
  };
  const addInference = (path: string, find: FindModel, answer: InferenceHandler) => {
    const handler: RouteHandler = (request, reply) =>
      limit.handle(request, async () => await answer(request, reply, find(request)));
    addRoute(server, 'POST', path, handler, guard(find));
  };
  for (const path of modelPaths('/infer')) addInference(path, (request) => requireModel(request, models), infer);
  for (const [path, answer] of [['/encode', encodeItems] as const, ['/rank', rankItems] as const]) {
    const handler: InferenceHandler = async (request, reply, model) =>
      sendJson(reply, await answer(model, parseJson(request.body)));
    addInference(path, () => requireClip(models), handler);
  }
}

type FindModel = (request: FastifyRequest) => InferlessModel;
type InferenceHandler = (request: FastifyRequest, reply: FastifyReply, model: InferlessModel) => Promise<FastifyReply>;

/** What is logged of a request from here on says whose it is. */
function logWithToken(tokenDigest: string, request: FastifyRequest, reply: FastifyReply): void {
  request.log = request.log.child({ tokenDigest });
  reply.log = request.log;
}

async function infer(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  const { id, inputs, outputs } = readInferenceRequest(parseJson(request.body), model.schema);
  const answer = await model.inferTensors(inputs, outputs);
  for (const failure of answer.failures) logInternal(failure, request.log);
  request.log.debug({ times: answer.times, generatedTokens: answer.generatedTokens }, 'stages');
  return sendJson(reply, inferenceResponse(model.name ?? '', id, answer.outputs));
}

function parseJson(body: unknown): unknown {
  if (!Buffer.isBuffer(body) || body.length === 0)
    throw new HandlerError('INVALID_REQUEST', 'Expected a JSON body, got none.');
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (cause) {
    throw new HandlerError('INVALID_REQUEST', `Expected a JSON body, got ${body.length} bytes that do not parse.`, {
      cause,
    });
  }
}

function isUnnamed({ name }: InferlessModel): boolean {
  return name === undefined;
}

/** Models that have a name: one that is named by its task has none before it is loaded. */
function namesOf(models: readonly InferlessModel[]): readonly string[] {
  return models.map(({ name }) => name).filter((name) => name !== undefined);
}

function requireModel(request: FastifyRequest, models: readonly InferlessModel[]): InferlessModel {
  const { model: name, version: modelVersion = MODEL_VERSION } = request.params as ModelPath; // The routes name both.
  const model = models.find((candidate) => candidate.name === name);
  if (model === undefined) {
    if (models.some(isUnnamed))
      throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
    throw new HandlerError(
      'NOT_FOUND',
      `Request for unknown model: '${name}' is not found. This service has ${namesOf(models).join(', ')}.`,
    );
  }
  if (modelVersion !== MODEL_VERSION) {
    throw new HandlerError(
      'NOT_FOUND',
      `Request for unknown model: '${name}' version ${modelVersion} is not found. There is version ${MODEL_VERSION}.`,
    );
  }
  return model;
}

function requireIdentity(contentEncoding: string | undefined): void {
  if (contentEncoding !== undefined && contentEncoding.toLowerCase() !== 'identity') {
    throw new HandlerError('UNSUPPORTED_ENCODING', 'Expected a body without content-encoding, got an encoded one.');
  }
}

function modelPaths(suffix: string): readonly string[] {
  return [`/v2/models/:model${suffix}`, `/v2/models/:model/versions/:version${suffix}`];
}

type RouteHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>;

const methods: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Adds a route; its path answers other methods with 405. */
function addRoute(
  server: FastifyInstance,
  method: 'GET' | 'POST',
  url: string,
  handler: RouteHandler,
  onRequest?: (request: FastifyRequest, reply: FastifyReply) => Promise<void>,
): void {
  server.route({ method, url, handler, ...(onRequest === undefined ? {} : { onRequest }) });
  const allowed = method === 'GET' ? ['GET', 'HEAD'] : [method];
  server.route({
    method: methods.filter((other) => !allowed.includes(other)),
    url,
    handler: (request, reply) => {
      const error = new HandlerError('METHOD_NOT_ALLOWED', `Expected ${allowed.join(' or ')}, got ${request.method}.`);
      return sendError(reply.header('allow', allowed.join(', ')), error, request.log);
    },
  });
}
