import type Handler from '../../app.ts';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';
import { inferInTime, type Question } from '../service/deadline.ts';
import { logInternal } from '../service/log-internal.ts';
import { findModel } from '../service/served-models.ts';
import type { CallRecord } from './call-report.ts';

/** A call that asks a model. */
export interface InferCall extends CallRecord {
  /** Aborts when nobody waits for the answer any more. Whatever is still queued is dropped then. */
  readonly signal: AbortSignal;
  /** The most milliseconds that the service allows; `undefined` for any time. */
  readonly timeLimitMs: number | undefined;
  /** The name of the token that asks; `undefined` where there are no tokens. */
  readonly client: string | undefined;
}

/**
 * Asks a model. Logs the time of each stage, and the cause of every item that failed inside.
 * @throws HandlerError as the model does; `DEADLINE_EXCEEDED` after the time that the request or the service allows; the
 *   signal's reason when that aborts.
 */
export async function askModel(
  model: Handler,
  question: Question,
  { signal, timeLimitMs, client, log, span }: InferCall,
): Promise<TensorAnswer> {
  const options = { signal, timeLimitMs, client, events: span?.eventsOf(model) };
  const answer = await inferInTime(model, question, options);
  for (const failure of answer.failures) logInternal(failure, log);
  log.debug({ times: answer.times, generatedTokens: answer.generatedTokens }, 'stages');
  return answer;
}

/**
 * The model that a message names. An empty version stands for the only one there is.
 * @throws HandlerError `NOT_FOUND` or `NOT_READY`.
 */
export function findVersion(models: readonly Handler[], name: string, version: string): Handler {
  return findModel(models, name, version === '' ? undefined : version);
}
