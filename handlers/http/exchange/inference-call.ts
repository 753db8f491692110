import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify';
import type Handler from '../../../app.ts';
import { joinEvents, type RequestEvents, type TensorAnswer } from '../../../pipeline/infer-request.ts';
import type { AdmittedRequest } from '../../service/admitted-request.ts';
import { inferInTime, type Question } from '../../service/deadline.ts';
import { logInternal } from '../../service/log-internal.ts';
import type { RequestSpan } from '../../service/tracing.ts';
import { clientSignal } from './client-signal.ts';
import { spanOf } from './request-span.ts';

/** A request for inference that was let in, with everything that a door needs to answer it. */
export interface InferenceCall {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly model: Handler;
  readonly admitted: AdmittedRequest;
  /** The most milliseconds that the service allows; `undefined` for any time. */
  readonly timeLimitMs: number | undefined;
}

/**
 * Asks the model of a call. Logs the time of each stage, and the cause of every item that failed inside.
 * @param signal drops the question when it aborts; by default, when the client leaves.
 * @throws HandlerError `DEADLINE_EXCEEDED` after the time that the request or the service allows.
 */
export async function askModel(
  { request, reply, model, admitted, timeLimitMs }: InferenceCall,
  question: Question,
  signal: AbortSignal = clientSignal(reply),
): Promise<TensorAnswer> {
  request.body = undefined; // It was read. Its memory is free while the question waits.
  return await askUntil(model, question, {
    signal,
    timeLimitMs,
    client: admitted.token,
    log: reply.log,
    span: spanOf(request),
  });
}

interface AskOptions {
  readonly signal: AbortSignal;
  readonly timeLimitMs: number | undefined;
  readonly client: string | undefined;
  readonly log: FastifyBaseLogger;
  readonly events?: RequestEvents;
  /** Gets a child for each stage. */
  readonly span: RequestSpan | undefined;
}

/** Asks a model as `askModel` does, for work that may outlive its request: it holds nothing of the request. */
export async function askUntil(
  model: Handler,
  question: Question,
  { signal, timeLimitMs, client, log, events, span }: AskOptions,
): Promise<TensorAnswer> {
  const options = { signal, timeLimitMs, client, events: joinEvents([span?.eventsOf(model), events]) };
  const answer = await inferInTime(model, question, options);
  for (const failure of answer.failures) logInternal(failure, log);
  log.debug({ times: answer.times, generatedTokens: answer.generatedTokens }, 'stages');
  return answer;
}
