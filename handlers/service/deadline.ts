import type InferlessModel from '../../app.ts';
import type { RequestEvents, TensorAnswer } from '../../pipeline/infer-request.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { untraced } from './tracing.ts';

/** More than a timer takes: 24 days. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const MICROSECONDS_PER_MILLISECOND = 1000;

/** What a signal says whose work is done: nobody hears it. */
const workIsDone = new HandlerError('CANCELLED', 'Expected nothing more to be asked, since the work is done.');

/**
 * Does `work` with a signal that aborts after `timeoutMs`, or when `signal` does; and when the work is done, since until
 * then Node keeps a signal that is made of others, and all that listens to it.
 * @param timeoutMs `undefined` for any time.
 * @throws HandlerError `DEADLINE_EXCEEDED`, as what listens to the signal throws its reason.
 */
export async function withDeadline<T>(
  timeoutMs: number | undefined,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const timer = timeoutMs === undefined ? undefined : abortLater(own, timeoutMs);
  try {
    return await work(AbortSignal.any([signal, own.signal]));
  } finally {
    clearTimeout(timer);
    own.abort(workIsDone);
  }
}

/** Aborts after so long, with `DEADLINE_EXCEEDED`; unless the timer is cleared before. */
export function abortLater(controller: AbortController, timeoutMs: number): NodeJS.Timeout {
  const abort = () => {
    const message = `Expected the answer within ${timeoutMs} ms, got none by then.`;
    controller.abort(new HandlerError('DEADLINE_EXCEEDED', message));
  };
  return setTimeout(abort, Math.min(timeoutMs, MAX_TIMER_MS));
}

/** What a model is asked. */
export interface TimedQuestion {
  /** Values by input name. */
  readonly inputs: unknown;
  /** Names of the outputs to return; `undefined` for the usual ones. */
  readonly outputs?: readonly string[] | undefined;
  /** The request's parameters that are no inputs; of these `timeout` counts, in microseconds. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/**
 * Asks a model, for as long as the request and the service let it; the shorter time counts.
 * @throws HandlerError as the model does, or `DEADLINE_EXCEEDED`; the reason of the signal, when that aborts.
 */
export async function inferInTime(
  model: InferlessModel,
  { inputs, outputs, parameters }: TimedQuestion,
  signal: AbortSignal,
  events?: RequestEvents,
): Promise<TensorAnswer> {
  const timeoutMs = shortest(requestTimeoutMs(parameters?.['timeout']), model.settings.requestTimeoutMs);
  const infer = (until: AbortSignal) => untraced(() => model.inferTensors({ inputs, outputs, signal: until, events }));
  return await withDeadline(timeoutMs, signal, infer);
}

/**
 * The time that a request gives itself: its parameter `timeout`, in microseconds as Triton has it; 0 is none.
 * @throws HandlerError `INVALID_PARAMETER`.
 */
export function requestTimeoutMs(timeout: unknown): number | undefined {
  if (timeout === undefined) return undefined;
  if (typeof timeout !== 'number' || !Number.isSafeInteger(timeout) || timeout < 0) {
    throw new HandlerError(
      'INVALID_PARAMETER',
      'Expected the parameter timeout to be a whole number of microseconds, got another value.',
    );
  }
  return timeout === 0 ? undefined : timeout / MICROSECONDS_PER_MILLISECOND;
}

/** Of two times, either of which may be any. */
export function shortest(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}
