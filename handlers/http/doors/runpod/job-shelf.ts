import { HandlerError } from '../../../../protocol/errors.ts';
import { AnswerCache } from './answer-cache.ts';
import type { JobEnd, QueuedJob } from './queued-job.ts';

/** How many jobs of a shelf there are now, and how many ended since the process began. */
export interface JobCounts {
  readonly waiting: number;
  readonly computing: number;
  readonly completed: number;
  /** Without cancelled jobs. */
  readonly failed: number;
}

export interface ShelfOptions {
  /** The most bytes of answers that are kept, as answer-cache.ts counts them. */
  readonly maxBytes: number;
  /** Makes the answer about the end of a job. */
  readonly encode: (id: string, end: JobEnd) => Uint8Array;
  readonly nowMs?: () => number;
}

/** The jobs of one client: the running ones, and for a while the answers of ended ones. It lives in the process's memory. */
export class JobShelf {
  readonly #options: ShelfOptions;
  readonly #running = new Map<string, QueuedJob>();
  readonly #answers: AnswerCache;
  #completedCount = 0;
  #failedCount = 0;

  constructor(options: ShelfOptions) {
    this.#options = options;
    this.#answers = new AnswerCache(options.maxBytes, options.nowMs);
  }

  /**
   * Takes a job that was accepted.
   * @param keptMs how long its answer is kept.
   * @returns the answer about its end, when it has ended.
   */
  async add(job: QueuedJob, keptMs: number): Promise<Uint8Array> {
    this.#running.set(job.id, job);
    const end = await job.ended;
    this.#running.delete(job.id);
    if (end.error === undefined) this.#completedCount += 1;
    else if (end.error.code !== 'CANCELLED') this.#failedCount += 1;
    const answer = this.#options.encode(job.id, end);
    if (!this.#answers.keep(job.id, answer, keptMs)) this.#keepSizeError(job.id, end, answer.length, keptMs);
    return answer;
  }

  /** A job that is running. */
  find(id: string): QueuedJob | undefined {
    return this.#running.get(id);
  }

  /** The answer about the end of a job, while it is kept. */
  read(id: string): Uint8Array | undefined {
    return this.#answers.read(id);
  }

  /** That answer, for those who do not pass it to the client. */
  kept(id: string): Uint8Array | undefined {
    return this.#answers.peek(id);
  }

  /** Keeps the answer no longer. */
  drop(id: string): void {
    this.#answers.drop(id);
  }

  /**
   * Ends a running job.
   * @returns the answer about its end, also of a job that had ended before.
   */
  async cancel(id: string): Promise<Uint8Array | undefined> {
    const job = this.#running.get(id);
    job?.cancel();
    await job?.ended;
    return this.#answers.read(id);
  }

  /**
   * Cancels the jobs that no worker has taken.
   * @returns how many.
   */
  async purge(): Promise<number> {
    const answers = await Promise.all(this.#waiting().map(({ id }) => this.cancel(id)));
    return answers.length;
  }

  counts(): JobCounts {
    const waiting = this.#waiting().length;
    return {
      waiting,
      computing: this.#running.size - waiting,
      completed: this.#completedCount,
      failed: this.#failedCount,
    };
  }

  /**
   * Whether a job is running, or ended less than `withinMs` ago and its client does not know. A client that has not
   * asked within that time asks seldom or not any more, and is not waited for.
   */
  isBusy(withinMs: number): boolean {
    return this.#running.size > 0 || this.#answers.unread(withinMs).length > 0;
  }

  /**
   * Cancels the jobs that nobody waits for.
   * @returns the jobs whose ends no client knows.
   */
  close(): readonly string[] {
    const abandoned = [...this.#running.values()].filter((job) => !job.isAwaited());
    for (const job of abandoned) job.cancel();
    return [...abandoned.map(({ id }) => id), ...this.#answers.unread()];
  }

  #waiting(): readonly QueuedJob[] {
    return [...this.#running.values()].filter((job) => !job.isComputing());
  }

  #keepSizeError(id: string, end: JobEnd, lengthBytes: number, keptMs: number): void {
    const { maxBytes, encode } = this.#options;
    const expected = `Expected an output of at most ${maxBytes} bytes, which can be kept, got ${lengthBytes}.`;
    const message = `${expected} Ask for fewer items or outputs.`;
    const error = new HandlerError('PAYLOAD_TOO_LARGE', message);
    this.#answers.keep(id, encode(id, { ...end, output: undefined, error }), keptMs);
  }
}
