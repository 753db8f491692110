import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from 'aws-lambda';
import { type ErrorCode, HandlerError } from '../../protocol/errors.ts';

/** The clock of an invocation. */
export type Clock = Pick<Context, 'getRemainingTimeInMillis'>;

/** Left for an answer to be written and sent. A function that runs out of time is killed, its models with it. */
const MARGIN_MS = 500;

/** Milliseconds that an invocation may still work. */
export function workingTimeMs(clock: Clock): number {
  return Math.max(0, clock.getRemainingTimeInMillis() - MARGIN_MS);
}

/** What a request has that the function has no more time for. */
const LATE: ErrorCode = 'DEADLINE_EXCEEDED';

/**
 * What `work` resolves with, unless the function runs out of time first. The work itself goes on: nothing can stop a
 * batch that is being computed.
 * @throws HandlerError with `code` a little before the function would be killed.
 */
export async function inTime<T>(work: Promise<T>, clock: Clock, expected: string, code: ErrorCode = LATE): Promise<T> {
  const timeMs = workingTimeMs(clock);
  const done = new AbortController();
  const late = sleep(timeMs, undefined, { signal: done.signal }).then(() => {
    throw new HandlerError(code, `Expected ${expected} within ${timeMs} ms, the time of the function, got it not.`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
  }
}
