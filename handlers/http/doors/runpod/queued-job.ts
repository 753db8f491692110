import { randomUUID } from 'node:crypto';
import { unlessAborted } from '../../../../pipeline/abort.ts';
import type { RequestEvents } from '../../../../pipeline/infer-request.ts';
import { HandlerError, toHandlerError } from '../../../../protocol/errors.ts';
import { abortLater, withDeadline } from '../../../service/deadline.ts';

/** How long a job may take, in milliseconds; then its error is `DEADLINE_EXCEEDED`. */
export interface JobLimits {
  /** From when it is begun. */
  readonly ttlMs: number;
  /** From when a worker takes it. */
  readonly executionTimeoutMs: number;
}

/** What came of a job. */
export interface JobEnd {
  readonly output: unknown;
  /** `undefined` where it succeeded. */
  readonly error: HandlerError | undefined;
  /** Until a worker took it, or until its end where none did. */
  readonly delayMs: number;
  /** From then on. */
  readonly executionMs: number;
}

/** A job that was accepted. It goes on whether or not its client waits. */
export interface QueuedJob {
  /** Nobody guesses it. */
  readonly id: string;
  /** Never rejects. */
  readonly ended: Promise<JobEnd>;
  /** Whether a worker has taken it: until then it can be dropped before it costs work. */
  isComputing(): boolean;
  /** Whether somebody waits for its end now. */
  isAwaited(): boolean;
  /** Ends it with `CANCELLED`: what waits is dropped, what is computed goes on unheard. */
  cancel(): void;
  /**
   * Waits for its end.
   * @param waitMs how long at most; `undefined` for any time.
   * @param signal when it aborts, nobody waits any more.
   * @returns what came of it; `undefined` while it goes on.
   */
  wait(waitMs: number | undefined, signal: AbortSignal): Promise<JobEnd | undefined>;
}

/** What a job does: it asks a model, tells how far that has come, and ends with the reason of the signal when that aborts. */
export type JobWork = (signal: AbortSignal, events: RequestEvents) => Promise<unknown>;

/**
 * Begins a job.
 * @returns it once it is accepted.
 * @throws HandlerError what its work throws before that: it was refused, and nothing is left of it.
 */
export async function startJob(
  work: JobWork,
  { ttlMs, executionTimeoutMs }: JobLimits,
  nowMs: () => number = () => performance.now(),
): Promise<QueuedJob> {
  const begunMs = nowMs();
  const stopping = new AbortController();
  const timers = [abortLater(stopping, ttlMs)];
  let takenMs: number | undefined;
  let awaiting = 0;
  let accept = (): void => undefined;
  const accepted = new Promise<void>((resolve) => {
    accept = resolve;
  });
  const computing = () => {
    if (takenMs !== undefined) return; // Another of its batches.
    takenMs = nowMs();
    timers.push(abortLater(stopping, executionTimeoutMs));
  };
  const working = work(stopping.signal, { accepted: () => accept(), computing });
  const ended = outcomeOf(working).then((outcome) => {
    for (const timer of timers) clearTimeout(timer);
    const endedMs = nowMs();
    const startMs = takenMs ?? endedMs;
    return { ...outcome, delayMs: startMs - begunMs, executionMs: endedMs - startMs };
  });
  await Promise.race([accepted, working]);
  return {
    id: randomUUID(),
    ended,
    isComputing: () => takenMs !== undefined,
    isAwaited: () => awaiting > 0,
    cancel: () => stopping.abort(new HandlerError('CANCELLED', 'Expected the job to be wanted, but it was cancelled.')),
    async wait(waitMs, signal) {
      awaiting += 1;
      try {
        return await withDeadline(waitMs, signal, (until) => unlessAborted(ended, until));
      } catch {
        return undefined; // The time was over, or the client left: of a job itself, `ended` tells.
      } finally {
        awaiting -= 1;
      }
    },
  };
}

async function outcomeOf(working: Promise<unknown>): Promise<Pick<JobEnd, 'output' | 'error'>> {
  try {
    return { output: await working, error: undefined };
  } catch (thrown) {
    return { output: undefined, error: toHandlerError(thrown) };
  }
}
