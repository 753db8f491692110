import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { errorText } from '../../../../protocol/error-answer.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { pickInputs } from '../../../../protocol/inference-request.ts';
import { type NamedTensor, unwrap, valuesByName } from '../../../../protocol/named-tensor.ts';
import { compile } from '../../../../protocol/validation.ts';
import { logInternal } from '../../../service/log-internal.ts';
import { areReady } from '../../../service/readiness.ts';
import type { Draining } from '../../drain.ts';
import { askModel } from '../../exchange/ask-model.ts';
import { type Job, refuseWebhook, runJob } from '../../exchange/job.ts';
import { sendJson } from '../../exchange/reply.ts';
import { parseJson } from '../../exchange/request-body.ts';
import { spanOf } from '../../exchange/request-span.ts';
import { firstModel } from '../../exchange/requested-model.ts';
import { addRoute, addRoutes } from '../../exchange/route.ts';
import type { RouteGuard } from '../../exchange/route-guards.ts';

/**
 * Cog's predictions, for clients of Replicate: the first model answers. `input` has inputs by name, and `image` for
 * `img_url`, as BLIP models have it there; names that are no inputs are left alone. Every prediction is answered when it
 * is done, so there is nothing to ask for later. One that fails is an answer with status 200, as there.
 * Source: replicate/cog, docs/http.md.
 */

interface PredictionBody {
  readonly id?: string | null;
  readonly input: Readonly<Record<string, unknown>>;
  readonly webhook?: unknown;
}

const MAX_ID_CHARACTERS = 200;

const checkBody = compile<PredictionBody>(
  {
    type: 'object',
    required: ['input'],
    properties: { id: { type: ['string', 'null'], maxLength: MAX_ID_CHARACTERS }, input: { type: 'object' } },
  },
  'INVALID_REQUEST',
);

/** The only output of these tasks, which is the prediction itself, without its name. */
const textOutputs: readonly string[] = ['generated_output', 'answer'];

/** Adds `/predictions`, which the first model answers, and `/health-check`. */
export function addCogRoutes(
  server: FastifyInstance,
  guard: RouteGuard,
  models: readonly InferlessModel[],
  draining: Draining,
): void {
  const prediction = guard(() => firstModel(models), predict);
  addRoutes(server, '/predictions', { POST: prediction });
  addRoutes(server, '/predictions/:id', { PUT: prediction });
  // Always with status 200: the platform reads `status`.
  addRoute(server, 'GET', '/health-check', (_request, reply) =>
    sendJson(reply, {
      status: healthOf(models, draining),
      setup: { status: models.every(({ model }) => model !== undefined) ? 'succeeded' : 'starting', logs: '' },
    }),
  );
}

function healthOf(models: readonly InferlessModel[], draining: Draining): 'READY' | 'STARTING' | 'UNHEALTHY' {
  if (areReady(models, draining)) return 'READY';
  return models.some(({ model }) => model === undefined) ? 'STARTING' : 'UNHEALTHY';
}

async function predict(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  const { id, input, webhook } = checkBody(parseJson(request.body));
  refuseWebhook(webhook);
  const job = await runJob(
    async () => {
      const { outputs } = await askModel(reply, model, { inputs: knownInputs(input, model) });
      return outputOf(outputs);
    },
    idOf(request, id),
  );
  if (job.error !== undefined) {
    logInternal(job.error, reply.log);
    spanOf(request)?.setError(job.error.code);
  }
  return sendJson(reply, predictionOf(job));
}

/** @throws HandlerError `INVALID_REQUEST` when path and body name different predictions. */
function idOf({ params }: FastifyRequest, inBody: string | null | undefined): string | undefined {
  const { id: inPath } = params as { readonly id?: string }; // One of the two routes names it.
  const given = inBody ?? undefined;
  if (inPath === undefined || given === undefined || inPath === given) return inPath ?? given;
  throw new HandlerError('INVALID_REQUEST', 'Expected the same id in the path and in the body, got two.');
}

function knownInputs({ image, ...input }: PredictionBody['input'], { schema }: InferlessModel): object {
  return { ...(image === undefined ? {} : { img_url: image }), ...pickInputs(input, schema.inputs) };
}

function outputOf(outputs: readonly NamedTensor[]): unknown {
  const [only] = outputs;
  if (outputs.length === 1 && only !== undefined && textOutputs.includes(only.name)) return unwrap(only);
  return valuesByName(outputs);
}

function predictionOf({ id, output, error, startedAt, endedAt }: Job): object {
  return {
    id,
    status: error === undefined ? 'succeeded' : 'failed',
    output,
    error: error === undefined ? null : errorText(error),
    logs: '',
    created_at: startedAt.toISOString(),
    started_at: startedAt.toISOString(),
    completed_at: endedAt.toISOString(),
    metrics: { predict_time: (endedAt.getTime() - startedAt.getTime()) / 1000 },
  };
}
