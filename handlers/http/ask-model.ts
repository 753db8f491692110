import type { FastifyReply } from 'fastify';
import type InferlessModel from '../../app.ts';
import type { TensorAnswer } from '../../pipeline/task.ts';
import { inferInTime, type TimedQuestion } from '../deadline.ts';
import { logInternal } from '../log-internal.ts';
import { clientSignal } from './client-signal.ts';

/** What a model is asked. */
export interface Question extends TimedQuestion {
  /** When to drop it; when its client leaves, unless this says otherwise. */
  readonly signal?: AbortSignal;
}

/**
 * Asks a model, and logs what its answer took, and what of it failed inside.
 * @throws HandlerError `DEADLINE_EXCEEDED` when the time is over that the request or the service gives it.
 */
export async function askModel(
  reply: FastifyReply,
  model: InferlessModel,
  { signal = clientSignal(reply), ...question }: Question,
): Promise<TensorAnswer> {
  const given = await inferInTime(model, question, signal);
  for (const failure of given.failures) logInternal(failure, reply.log);
  reply.log.debug({ times: given.times, generatedTokens: given.generatedTokens }, 'stages');
  return given;
}
