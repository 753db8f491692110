import type { FastifyReply, FastifyRequest } from 'fastify';
import type Handler from '../../../../app.ts';
import { errorText } from '../../../../protocol/error-answer.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { type NamedTensor, unwrap, valuesByName } from '../../../../protocol/named-tensor.ts';
import { schemaWithoutEffect } from '../../../../protocol/names-without-effect.ts';
import { compile } from '../../../../protocol/validation.ts';
import { logInternal } from '../../../service/log-internal.ts';
import { areReady, type Stopping } from '../../../service/readiness.ts';
import type { Door } from '../../exchange/door.ts';
import { askModel, type InferenceCall } from '../../exchange/inference-call.ts';
import { type Job, refuseWebhook, runJob } from '../../exchange/job.ts';
import { sendJson } from '../../exchange/reply.ts';
import { parseJson } from '../../exchange/request-body.ts';
import { spanOf } from '../../exchange/request-span.ts';
import { firstModel } from '../../exchange/requested-model.ts';
import { probe } from '../../exchange/route-table.ts';
import { readReplicateInputs } from './replicate-inputs.ts';

/**
 * Cog's predictions, for clients of Replicate. `input` has inputs by name, or by the names of Replicate's BLIP models
 * (replicate-inputs.ts), which also say whose task it is; without a task the first model answers. Every prediction is
 * answered when it is done, so that there is nothing to ask for later. As with Cog, a prediction that fails is an answer
 * with status 200.
 * Source: replicate/cog, docs/http.md.
 */
export const cog: Door = {
  name: 'Cog',
  paths: ['/predictions', '/predictions/*', '/health-check'],
  add({ routes, guard, models, drain }) {
    const prediction = guard(
      () => firstModel(models),
      (call) => predict(call, models),
    );
    routes.add('/predictions', 'POST', prediction);
    routes.add('/predictions/:id', 'PUT', prediction);
    // The HTTP status is always 200: the platform reads the field `status`.
    const health = probe((_request, reply) =>
      sendJson(reply, {
        status: healthOf(models, drain),
        setup: { status: models.every(({ model }) => model !== undefined) ? 'succeeded' : 'starting', logs: '' },
      }),
    );
    routes.add('/health-check', 'GET', health);
  },
};

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
    properties: {
      id: { type: ['string', 'null'], maxLength: MAX_ID_CHARACTERS },
      input: { type: 'object' },
      webhook: {},
      ...schemaWithoutEffect('a prediction of Cog'),
    },
    knownNames: true,
  },
  'INVALID_REQUEST',
);

/** Outputs that are the prediction itself, without a name, where they are the only one. */
const textOutputs: readonly string[] = ['generated_output', 'answer'];

function healthOf(models: readonly Handler[], server: Stopping): 'READY' | 'STARTING' | 'UNHEALTHY' {
  if (areReady(models, server)) return 'READY';
  return models.some(({ model }) => model === undefined) ? 'STARTING' : 'UNHEALTHY';
}

async function predict(call: InferenceCall, models: readonly Handler[]): Promise<FastifyReply> {
  const { request, reply } = call;
  const { id, input, webhook } = checkBody(parseJson(request.body));
  refuseWebhook(webhook);
  const { inputs, model } = readReplicateInputs(input, models, call.model);
  const job = await runJob(
    async () => {
      const { outputs } = await askModel({ ...call, model }, { inputs });
      return outputOf(outputs);
    },
    predictionId(request, id),
  );
  if (job.error !== undefined) {
    logInternal(job.error, reply.log);
    spanOf(request)?.setError(job.error.code);
  }
  return sendJson(reply, predictionOf(job));
}

/**
 * The id that the client chose, in the path or in the body; `undefined` for none.
 * @throws HandlerError `INVALID_REQUEST` when path and body name different predictions.
 */
function predictionId({ params }: FastifyRequest, idInBody: string | null | undefined): string | undefined {
  const { id: idInPath } = params as { readonly id?: string }; // One of the two routes has this parameter.
  const bodyId = idInBody ?? undefined;
  if (idInPath === undefined || bodyId === undefined || idInPath === bodyId) return idInPath ?? bodyId;
  throw new HandlerError('INVALID_REQUEST', 'Expected the same id in the path and in the body, got two.');
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
