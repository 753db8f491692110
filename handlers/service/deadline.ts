import type Handler from '../../app.ts';
import type { RequestEvents, TensorAnswer } from '../../pipeline/infer-request.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { untraced } from './tracing.ts';

/** Node's timers take no longer time: 24 days. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const MICROSECONDS_PER_MILLISECOND = 1000;

/** The reason of a signal whose work has finished; never shown. */
const workIsDone = new HandlerError('CANCELLED', 'Expected nothing more to be asked, since the work is done.');

/**
 * Does `work` with a signal that aborts after `timeoutMs`, or when `signal` does. It aborts after the work too: Node
 * keeps a combined signal, and all its listeners, until one of its sources aborts.
 * @param timeoutMs `undefined` for no limit.
 * @throws HandlerError `DEADLINE_EXCEEDED` if `work` throws the reason of its signal.
 */
export async function withDeadline<T>(
  timeoutMs: number | undefined,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timer = timeoutMs === undefined ? undefined : abortLater(deadline, timeoutMs);
  try {
    return await work(AbortSignal.any([signal, deadline.signal]));
  } finally {
    clearTimeout(timer);
    deadline.abort(workIsDone);
  }
}

/** Aborts after `timeoutMs` with `DEADLINE_EXCEEDED`, unless the timer is cleared before. */
export function abortLater(controller: AbortController, timeoutMs: number): NodeJS.Timeout {
  const abort = () => {
    const message = `Expected the answer within ${timeoutMs} ms, got none by then.`;
    controller.abort(new HandlerError('DEADLINE_EXCEEDED', message));
  };
  return setTimeout(abort, Math.min(timeoutMs, MAX_TIMER_MS));
}

/** A request to a model. */
export interface Question {
  /** Values by input name. */
  readonly inputs: unknown;
  /** Names of the outputs to return; `undefined` for the usual ones. */
  readonly outputs?: readonly string[] | undefined;
  /** Parameters of the request that are no inputs. Only `timeout` counts, in microseconds. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

export interface InferOptions {
  /** When it aborts, the question is dropped. */
  readonly signal: AbortSignal;
  /** The most milliseconds that the service allows; `undefined` for any time. */
  readonly timeLimitMs: number | undefined;
  /** The name of the token that asks; `undefined` where there are no tokens. */
  readonly client: string | undefined;
  readonly events?: RequestEvents | undefined;
}

/**
 * Asks a model within the time that the request and the service allow; the shorter one counts.
 * @throws HandlerError as the model does, or `DEADLINE_EXCEEDED`; the reason of the signal, when that aborts.
 */
export async function inferInTime(
  model: Handler,
  { inputs, outputs, parameters }: Question,
  { signal, timeLimitMs, client, events }: InferOptions,
): Promise<TensorAnswer> {
  const timeoutMs = shortest(requestTimeoutMs(parameters?.['timeout']), timeLimitMs);
  const infer = (until: AbortSignal) =>
    untraced(() => model.inferTensors({ inputs, outputs, signal: until, client, events }));
  return await withDeadline(timeoutMs, signal, infer);
}

/**
 * The time that a request allows itself, from its parameter `timeout`: in microseconds, as Triton has it; 0 is no limit.
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

/** The shorter of two times; `undefined` is no limit. */
export function shortest(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}
