import { setTimeout as sleep } from 'node:timers/promises';
import { HandlerError } from '../../../../protocol/errors.ts';
import { encodeEnd } from './job-answers.ts';
import type { JobRecords } from './job-records.ts';
import type { JobCounts, JobShelf } from './job-shelf.ts';
import { type JobStatus, type QueuedJob, statusOf } from './queued-job.ts';
import type { SharedJobs } from './shared-jobs.ts';

/** The side of the replica that is asked about jobs of others: docs/decisions/0047-kubernetes.md. */

/** How often the end of another replica's job is looked for. */
const POLL_MS = 200;
/** Another replica ends a job that is cancelled within this time, unless it hangs. */
const CANCEL_LIMIT_MS = 5_000;
/** As long as the end of any job of `run`. */
const DEAD_KEPT_MS = 30 * 60_000;

/** A job of another replica: the answer about its end, or how far it is. */
export type FoundJob = { readonly answer: Uint8Array } | { readonly status: JobStatus };

/** The jobs of one client in all replicas. */
export class SharedShelf {
  readonly #records: JobRecords;
  readonly #shelf: JobShelf;
  readonly #jobs: SharedJobs;

  constructor(records: JobRecords, shelf: JobShelf, jobs: SharedJobs) {
    this.#records = records;
    this.#shelf = shelf;
    this.#jobs = jobs;
  }

  /** @throws HandlerError as `SharedJobs.publish` does. */
  async publish(job: QueuedJob, ending: Promise<unknown>, keptMs: number): Promise<void> {
    await this.#jobs.publish({ job, records: this.#records, shelf: this.#shelf, ending, keptMs });
  }

  /**
   * A job of any replica; `undefined` for an id that none knows.
   * @throws HandlerError `NOT_READY` when Redis does not answer.
   */
  async find(id: string): Promise<FoundJob | undefined> {
    const record = await this.#records.read(id);
    if (record === undefined) return undefined;
    if ('answer' in record) return { answer: Buffer.from(record.answer) };
    if (await this.#records.lives(record.owner)) return { status: record.status };
    return await this.#endOfDead(id);
  }

  /** Finds a job when it has ended, or when `waitMs` are over or the signal aborts. */
  async findInTime(id: string, waitMs: number, signal: AbortSignal): Promise<FoundJob | undefined> {
    const untilMs = performance.now() + waitMs;
    for (;;) {
      const found = await this.find(id);
      const leftMs = untilMs - performance.now();
      if (found === undefined || 'answer' in found || leftMs <= 0 || signal.aborted) return found;
      await sleep(Math.min(POLL_MS, leftMs));
    }
  }

  /**
   * Has a job ended by the replica that runs it.
   * @returns the answer about its end, also of a job that had ended before; `undefined` for an id that none knows.
   * @throws HandlerError `NOT_READY` when Redis does not answer, or that replica does not.
   */
  async cancel(id: string): Promise<Uint8Array | undefined> {
    if (!(await this.#records.wish(id, 'always'))) return undefined;
    const found = await this.findInTime(id, CANCEL_LIMIT_MS, new AbortController().signal);
    if (found === undefined || 'answer' in found) return found?.answer;
    throw new HandlerError(
      'NOT_READY',
      `Expected the replica that runs the job to end it within ${CANCEL_LIMIT_MS} ms, got no end. Ask again.`,
    );
  }

  /**
   * Cancels the jobs of other replicas that no worker has taken.
   * @returns how many.
   */
  async purge(): Promise<number> {
    const ids = (await this.#records.running()).filter((id) => this.#shelf.find(id) === undefined);
    const ended = await Promise.all(ids.map((id) => this.#purgeOne(id)));
    return ended.filter((isPurged) => isPurged).length;
  }

  /** The jobs of all replicas. */
  async counts(): Promise<JobCounts> {
    const [ids, ends] = await Promise.all([this.#records.running(), this.#records.counts()]);
    const found = await Promise.all(ids.map((id) => this.#findRunning(id)));
    const count = (status: JobStatus) => found.filter((job) => job === status).length;
    return { waiting: count('IN_QUEUE'), computing: count('IN_PROGRESS'), ...ends };
  }

  async #findRunning(id: string): Promise<JobStatus | undefined> {
    const own = this.#shelf.find(id);
    if (own !== undefined) return statusOf(own);
    const found = await this.find(id);
    if (found === undefined) await this.#records.forget(id);
    return found !== undefined && 'status' in found ? found.status : undefined;
  }

  async #purgeOne(id: string): Promise<boolean> {
    if ((await this.#findRunning(id)) !== 'IN_QUEUE') return false;
    await this.#records.wish(id, 'while-queued');
    const untilMs = performance.now() + CANCEL_LIMIT_MS;
    while (performance.now() < untilMs) {
      const found = await this.find(id);
      if (found === undefined || ('status' in found && found.status === 'IN_PROGRESS')) return false;
      if ('answer' in found) return isCancelled(found.answer);
      await sleep(POLL_MS);
    }
    return false;
  }

  /** A job whose process has died fails, so that its client submits it again. */
  async #endOfDead(id: string): Promise<FoundJob | undefined> {
    const error = new HandlerError(
      'NOT_READY',
      'Expected the replica that took the job to end it, but that replica has ended itself. Submit the job again.',
    );
    const answer = encodeEnd(id, { output: undefined, error, delayMs: 0, executionMs: 0 });
    if (await this.#records.end(id, Buffer.from(answer).toString(), DEAD_KEPT_MS, 'failed')) return { answer };
    const record = await this.#records.read(id); // The first end holds.
    return record !== undefined && 'answer' in record ? { answer: Buffer.from(record.answer) } : undefined;
  }
}

function isCancelled(answer: Uint8Array): boolean {
  const { status }: { readonly status?: unknown } = JSON.parse(Buffer.from(answer).toString());
  return status === 'CANCELLED';
}
