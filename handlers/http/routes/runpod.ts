import type { FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../app.ts';
import { unwrap } from '../../../protocol/named-tensor.ts';
import { compile } from '../../../protocol/validation.ts';
import { askModel } from '../ask-model.ts';
import type { AddInferenceRoute } from '../inference-routes.ts';
import { type Job, refuseWebhook, runJob } from '../job.ts';
import { logInternal, sendJson } from '../reply.ts';
import { parseJson } from '../request-body.ts';
import { firstModel, requireModel } from '../served-models.ts';

/**
 * RunPod's `runsync`, for its SDK: an endpoint is a model by its name, or the first one. The input of a job is a
 * dictionary of inputs by name, its output one of outputs. A job that fails is an answer with status 200, as there.
 * Source: runpod/runpod-python, runpod/serverless/modules/rp_fastapi.py; docs.runpod.io, job operations.
 */

interface RunBody {
  readonly input: Readonly<Record<string, unknown>>;
  readonly webhook?: unknown;
}

const checkBody = compile<RunBody>(
  { type: 'object', required: ['input'], properties: { input: { type: 'object' } } },
  'INVALID_REQUEST',
);

export function addRunpodRoutes(add: AddInferenceRoute, models: readonly InferlessModel[]): void {
  add('/runsync', () => firstModel(models), runSync);
  add('/v2/:model/runsync', (request) => requireModel(request, models), runSync);
}

async function runSync(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  const { input, webhook } = checkBody(parseJson(request.body));
  refuseWebhook(webhook);
  const job = await runJob(async () => {
    const { outputs } = await askModel(reply, model, { inputs: input });
    return Object.fromEntries(outputs.map((tensor) => [tensor.name, unwrap(tensor)]));
  });
  if (job.error !== undefined) logInternal(job.error, reply.log);
  return sendJson(reply, stateOf(job));
}

function stateOf({ id, output, error, startedAt, endedAt }: Job): object {
  const times = { delayTime: 0, executionTime: endedAt.getTime() - startedAt.getTime() };
  if (error === undefined) return { id, status: 'COMPLETED', output, ...times };
  return { id, status: 'FAILED', error: `${error.code}: ${error.message}`, ...times };
}
