import type { FastifyReply } from 'fastify';
import type InferlessModel from '../../app.ts';
import type { TensorAnswer } from '../../pipeline/task.ts';
import { requestTimeoutMs, shortest, withDeadline } from '../deadline.ts';
import { clientSignal } from './client-signal.ts';
import { logInternal } from './reply.ts';

/** What a model is asked. */
export interface Question {
  /** Values by input name. */
  readonly inputs: unknown;
  /** Names of the outputs to return; `undefined` for the usual ones. */
  readonly outputs?: readonly string[] | undefined;
  /** When to drop it; when its client leaves, unless this says otherwise. */
  readonly signal?: AbortSignal;
  /** The request's parameters that are no inputs; of these `timeout` counts, in microseconds. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/**
 * Asks a model, and logs what its answer took, and what of it failed inside.
 * @throws HandlerError `DEADLINE_EXCEEDED` when the time is over that the request or the service gives it.
 */
export async function askModel(
  reply: FastifyReply,
  model: InferlessModel,
  { inputs, outputs, signal = clientSignal(reply), parameters }: Question,
): Promise<TensorAnswer> {
  const timeoutMs = shortest(requestTimeoutMs(parameters?.['timeout']), model.settings.requestTimeoutMs);
  const given = await withDeadline(timeoutMs, signal, (until) => model.inferTensors(inputs, outputs, until));
  for (const failure of given.failures) logInternal(failure, reply.log);
  reply.log.debug({ times: given.times, generatedTokens: given.generatedTokens }, 'stages');
  return given;
}
