import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { errorBody } from '../../../../protocol/error-answer.ts';
import { errorCodes, HandlerError, toHandlerError } from '../../../../protocol/errors.ts';
import { pickInputs } from '../../../../protocol/inference-request.ts';
import { valuesByName } from '../../../../protocol/named-tensor.ts';
import { compile } from '../../../../protocol/validation.ts';
import { logInternal } from '../../../service/log-internal.ts';
import { isReady } from '../../../service/readiness.ts';
import { findModel, isUnnamed, namesOf } from '../../../service/served-models.ts';
import type { Draining } from '../../drain.ts';
import { askModel } from '../../exchange/ask-model.ts';
import { clientSignal } from '../../exchange/client-signal.ts';
import { sendJson } from '../../exchange/reply.ts';
import { parseJson } from '../../exchange/request-body.ts';
import { firstModel, type ModelPath, requireModel } from '../../exchange/requested-model.ts';
import { addRoute, addRoutes } from '../../exchange/route.ts';
import type { RouteGuard } from '../../exchange/route-guards.ts';
import { VERTEX_PREDICT_PATH } from './vertex-paths.ts';

/**
 * The routes of two platforms: Vertex AI (`/vertex/predict`, or what it chooses), and the first protocol of KServe
 * (`/v1/models`), whose body it shares: `{"instances": […]}` → `{"predictions": […]}`. An instance is a dictionary of
 * inputs by name; its prediction is one of outputs.
 * Source: cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements; kserve/kserve, v1 protocol.
 */

interface PredictBody {
  readonly instances: readonly unknown[];
  readonly parameters?: Readonly<Record<string, unknown>> | null;
}

const checkBody = compile<PredictBody>(
  {
    type: 'object',
    required: ['instances'],
    properties: { instances: { type: 'array', minItems: 1 }, parameters: { type: ['object', 'null'] } },
  },
  'INVALID_REQUEST',
);
const checkInstance = compile<Readonly<Record<string, unknown>>>({ type: 'object' }, 'INVALID_INPUT');

/** A path of the protocol ends with it; a colon has a meaning of its own in a route. */
const PREDICT_SUFFIX = ':predict';

/** Adds the paths of both: the first model answers Vertex AI, a model by its name KServe. */
export function addVertexRoutes(
  server: FastifyInstance,
  guard: RouteGuard,
  models: readonly InferlessModel[],
  draining: Draining,
): void {
  addRoutes(server, VERTEX_PREDICT_PATH, { POST: guard(() => firstModel(models), predict) });
  addRoute(server, 'GET', '/v1/models', (_request, reply) => sendJson(reply, { models: namesOf(models) }));
  addRoutes(server, '/v1/models/:model', {
    GET: {
      handler: (request, reply) => {
        const { model: name } = request.params as ModelPath; // The route names it.
        const ready = models.some(isUnnamed) ? false : isReady(requireModel(request, models), draining);
        return sendJson(reply, { name, ready }, ready ? 200 : errorCodes.NOT_READY.http);
      },
    },
    POST: guard((request) => requirePredicting(request, models), predict),
  });
}

/** @throws HandlerError `NOT_FOUND` when the path has another verb than `predict`, or names no model. */
function requirePredicting({ params }: FastifyRequest, models: readonly InferlessModel[]): InferlessModel {
  const { model: name } = params as ModelPath; // The route names it.
  if (name.endsWith(PREDICT_SUFFIX)) return findModel(models, name.slice(0, -PREDICT_SUFFIX.length));
  throw new HandlerError('NOT_FOUND', `Expected a path that ends with ${PREDICT_SUFFIX}, got another.`);
}

/** An instance that fails has its error in its place; when all do, the answer is the first error. */
async function predict(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  const { instances, parameters } = checkBody(parseJson(request.body));
  const { maxQueueSize } = model.settings;
  if (instances.length > maxQueueSize)
    throw new HandlerError('INVALID_INPUT', `Expected at most ${maxQueueSize} instances, got ${instances.length}.`);
  const shared = pickInputs(parameters ?? {}, model.schema.inputs);
  const signal = clientSignal(reply);
  const predictions = await Promise.all(
    instances.map((instance) => predictInstance(reply, model, { instance, shared, signal }).catch(toHandlerError)),
  );
  const failures = predictions.filter((prediction) => prediction instanceof HandlerError);
  const [first] = failures;
  if (first !== undefined && failures.length === predictions.length) throw first;
  for (const failure of failures) logInternal(failure, request.log);
  return sendJson(reply, {
    predictions: predictions.map((prediction) =>
      prediction instanceof HandlerError ? errorBody(prediction) : prediction,
    ),
  });
}

async function predictInstance(
  reply: FastifyReply,
  model: InferlessModel,
  { instance, shared, signal }: { readonly instance: unknown; readonly shared: object; readonly signal: AbortSignal },
): Promise<object> {
  const given = Object.entries(checkInstance(instance)).map(
    ([name, value]) => [name, withoutWrappings(value)] as const,
  );
  const { outputs } = await askModel(reply, model, { inputs: { ...shared, ...Object.fromEntries(given) }, signal });
  return valuesByName(outputs);
}

/** `{"b64": …}` is how both protocols write bytes. */
function withoutWrappings(value: unknown): unknown {
  return Array.isArray(value) ? value.map(withoutWrapping) : withoutWrapping(value);
}

function withoutWrapping(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'b64' in value ? value.b64 : value;
}
