import { randomUUID } from 'node:crypto';
import { unlessAborted } from '../../../../pipeline/abort.ts';
import type { RequestEvents } from '../../../../pipeline/infer-request.ts';
import { HandlerError, toHandlerError } from '../../../../protocol/errors.ts';
import { abortLater, withDeadline } from '../../../service/deadline.ts';

/** The time that a job may take, in milliseconds; after it the job ends with `DEADLINE_EXCEEDED`. */
export interface JobLimits {
  /** From its beginning. */
  readonly ttlMs: number;
  /** From the moment when a worker takes it. */
  readonly executionTimeoutMs: number;
}

/** How far a running job is. */
export type JobStatus = 'IN_QUEUE' | 'IN_PROGRESS';

/** The end of a job. */
export interface JobEnd {
  readonly output: unknown;
  /** `undefined` when the job succeeded. */
  readonly error: HandlerError | undefined;
  /** Until a worker took it, or until its end if none did. */
  readonly delayMs: number;
  /** From then on. */
  readonly executionMs: number;
}

/** Asks a model, reports its progress, and ends with the reason of the signal when that aborts. */
export type JobWork = (signal: AbortSignal, events: RequestEvents) => Promise<unknown>;

/** A job that runs whether or not its client waits. */
export class QueuedJob {
  /** Nobody can guess it. */
  readonly id = randomUUID();
  /** Never rejects. */
  readonly ended: Promise<JobEnd>;
  /** Resolves when the job is accepted; rejects with the error of a job that is refused. */
  readonly accepted: Promise<unknown>;
  readonly #nowMs: () => number;
  readonly #beginMs: number;
  readonly #stopping = new AbortController();
  readonly #timers: NodeJS.Timeout[];
  #takenMs: number | undefined;
  #awaitingCount = 0;

  /** Begins the work of a job. */
  constructor(work: JobWork, { ttlMs, executionTimeoutMs }: JobLimits, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#beginMs = nowMs();
    this.#timers = [abortLater(this.#stopping, ttlMs)];
    let accept = (): void => undefined;
    const accepted = new Promise<void>((resolve) => {
      accept = resolve;
    });
    const working = work(this.#stopping.signal, {
      accepted: () => accept(),
      computing: () => this.#take(executionTimeoutMs),
    });
    this.accepted = Promise.race([accepted, working]);
    this.ended = this.#end(working);
  }

  /** Whether a worker has taken it. Until then it can be dropped before it costs work. */
  isComputing(): boolean {
    return this.#takenMs !== undefined;
  }

  /** Whether somebody waits for its end now. */
  isAwaited(): boolean {
    return this.#awaitingCount > 0;
  }

  /** Ends the job with `CANCELLED`. Work that waits is dropped; work that a worker has taken goes on without effect. */
  cancel(): void {
    this.#stopping.abort(new HandlerError('CANCELLED', 'Expected the job to run to its end, but it was cancelled.'));
  }

  /**
   * Waits for the end of the job.
   * @param waitMs how long at most; `undefined` for no limit.
   * @param signal when it aborts, the wait is over.
   * @returns the end; `undefined` while the job is running.
   */
  async wait(waitMs: number | undefined, signal: AbortSignal): Promise<JobEnd | undefined> {
    this.#awaitingCount += 1;
    try {
      return await withDeadline(waitMs, signal, (until) => unlessAborted(this.ended, until));
    } catch {
      return undefined; // The wait is over or the client left. Errors of the job itself are in `ended`.
    } finally {
      this.#awaitingCount -= 1;
    }
  }

  #take(executionTimeoutMs: number): void {
    if (this.#takenMs !== undefined) return; // A later batch of the same job.
    this.#takenMs = this.#nowMs();
    this.#timers.push(abortLater(this.#stopping, executionTimeoutMs));
  }

  async #end(working: Promise<unknown>): Promise<JobEnd> {
    const outcome = await working.then(
      (output) => ({ output, error: undefined }),
      (thrown: unknown) => ({ output: undefined, error: toHandlerError(thrown) }),
    );
    for (const timer of this.#timers) clearTimeout(timer);
    const endMs = this.#nowMs();
    const takenMs = this.#takenMs ?? endMs;
    return { ...outcome, delayMs: takenMs - this.#beginMs, executionMs: endMs - takenMs };
  }
}

export function statusOf(job: QueuedJob): JobStatus {
  return job.isComputing() ? 'IN_PROGRESS' : 'IN_QUEUE';
}

/**
 * Begins a job.
 * @returns the job, once it is accepted.
 * @throws HandlerError the error of a job that is refused. Nothing is left of it.
 */
export async function startJob(
  work: JobWork,
  limits: JobLimits,
  nowMs: () => number = () => performance.now(),
): Promise<QueuedJob> {
  const job = new QueuedJob(work, limits, nowMs);
  await job.accepted;
  return job;
}
