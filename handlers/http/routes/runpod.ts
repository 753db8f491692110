import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../app.ts';
import { valuesByName } from '../../../protocol/named-tensor.ts';
import { compile } from '../../../protocol/validation.ts';
import { logInternal } from '../../log-internal.ts';
import { askModel } from '../ask-model.ts';
import type { RouteGuard } from '../inference-routes.ts';
import { type Job, refuseWebhook, runJob } from '../job.ts';
import { sendJson } from '../reply.ts';
import { parseJson } from '../request-body.ts';
import { firstModel, requireModel } from '../requested-model.ts';
import { addRoutes } from '../route.ts';

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

/** Adds `POST /runsync` for the first model, and `POST /v2/NAME/runsync` for each. */
export function addRunpodRoutes(server: FastifyInstance, guard: RouteGuard, models: readonly InferlessModel[]): void {
  addRoutes(server, '/runsync', { POST: guard(() => firstModel(models), runSync) });
  addRoutes(server, '/v2/:model/runsync', { POST: guard((request) => requireModel(request, models), runSync) });
}

async function runSync(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  const { input, webhook } = checkBody(parseJson(request.body));
  refuseWebhook(webhook);
  const job = await runJob(async () => {
    const { outputs } = await askModel(reply, model, { inputs: input });
    return valuesByName(outputs);
  });
  if (job.error !== undefined) logInternal(job.error, reply.log);
  return sendJson(reply, stateOf(job));
}

function stateOf({ id, output, error, startedAt, endedAt }: Job): object {
  const times = { delayTime: 0, executionTime: endedAt.getTime() - startedAt.getTime() };
  if (error === undefined) return { id, status: 'COMPLETED', output, ...times };
  return { id, status: 'FAILED', error: `${error.code}: ${error.message}`, ...times };
}
