import type { Context } from 'aws-lambda';
import { unlessAborted } from '../../pipeline/abort.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { withDeadline } from '../service/deadline.ts';

/** The clock of an invocation. */
export type Clock = Pick<Context, 'getRemainingTimeInMillis'>;

/** Time to write and send an answer. A function that runs out of time is killed, together with its models. */
const MARGIN_MS = 500;

/** The milliseconds that an invocation may still work. */
export function workingTimeMs(clock: Clock): number {
  return Math.max(0, clock.getRemainingTimeInMillis() - MARGIN_MS);
}

/**
 * Does `work` with a signal that aborts a little before the function would be killed, so that waiting work can be dropped.
 * Its reason is a HandlerError `DEADLINE_EXCEEDED`.
 */
export async function untilLate<T>(clock: Clock, work: (until: AbortSignal) => Promise<T>): Promise<T> {
  return await withDeadline(workingTimeMs(clock), new AbortController().signal, work);
}

/**
 * Does `work` as `untilLate` does, but does not wait for work that ignores the signal: no batch in a worker can be stopped.
 * @throws HandlerError `DEADLINE_EXCEEDED` a little before the function would be killed.
 */
export async function inTime<T>(clock: Clock, work: (until: AbortSignal) => Promise<T>): Promise<T> {
  return await untilLate(clock, (until) => unlessAborted(work(until), until));
}

/**
 * Waits for models that are loading. The loading goes on after the time of this invocation.
 * @throws HandlerError `NOT_READY` then, and whatever `loading` rejects with.
 */
export async function loadedInTime(clock: Clock, loading: Promise<void>): Promise<void> {
  const timeMs = workingTimeMs(clock);
  try {
    await inTime(clock, () => loading);
  } catch (thrown) {
    if (!(thrown instanceof HandlerError) || thrown.code !== 'DEADLINE_EXCEEDED') throw thrown;
    const expected = `Expected the models to load in the ${timeMs} ms left to the function, but they did not. Ask again later.`;
    throw new HandlerError('NOT_READY', expected);
  }
}
