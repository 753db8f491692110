import type { FastifyBaseLogger, FastifyReply } from 'fastify';
import type InferlessModel from '../../../app.ts';
import { joinEvents, type RequestEvents, type TensorAnswer } from '../../../pipeline/infer-request.ts';
import { inferInTime, type TimedQuestion } from '../../service/deadline.ts';
import { logInternal } from '../../service/log-internal.ts';
import type { RequestSpan } from '../../service/tracing.ts';
import { clientSignal } from './client-signal.ts';
import { spanOf } from './request-span.ts';

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
  return await askUntil(model, question, { signal, log: reply.log, span: spanOf(reply.request) });
}

/** How a model is asked by work that may outlive its request. */
export interface Asking {
  readonly signal: AbortSignal;
  readonly log: FastifyBaseLogger;
  readonly events?: RequestEvents;
  /** Where its stages show. */
  readonly span?: RequestSpan | undefined;
}

/** The same, for work that may outlive its request: it holds nothing of that. */
export async function askUntil(
  model: InferlessModel,
  question: TimedQuestion,
  { signal, log, events, span }: Asking,
): Promise<TensorAnswer> {
  const given = await inferInTime(model, question, signal, joinEvents([span?.eventsOf(model), events]));
  for (const failure of given.failures) logInternal(failure, log);
  log.debug({ times: given.times, generatedTokens: given.generatedTokens }, 'stages');
  return given;
}
