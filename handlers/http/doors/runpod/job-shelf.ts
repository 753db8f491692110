import { HandlerError } from '../../../../protocol/errors.ts';
import { createKeptAnswers } from './kept-answers.ts';
import type { JobEnd, QueuedJob } from './queued-job.ts';

/** How many jobs of a shelf there are now, and how many ended since the process began. */
export interface JobCounts {
  readonly waiting: number;
  readonly computing: number;
  readonly completed: number;
  /** Those that were cancelled are not among them. */
  readonly failed: number;
}

/** The jobs of one client: those that go on, and for a while what came of the others. It lives in the process's memory. */
export interface JobShelf {
  /**
   * Takes a job that was accepted.
   * @param keptMs how long what comes of it is kept.
   * @returns the answer that tells what came of it, when it has ended.
   */
  add(job: QueuedJob, keptMs: number): Promise<Uint8Array>;
  /** A job that goes on. */
  find(id: string): QueuedJob | undefined;
  /** The answer that tells what came of one that has ended. */
  read(id: string): Uint8Array | undefined;
  /**
   * Ends a job that goes on.
   * @returns the answer that tells of its end, as of one that had ended before.
   */
  cancel(id: string): Promise<Uint8Array | undefined>;
  /**
   * Cancels those that no worker has taken.
   * @returns how many.
   */
  purge(): Promise<number>;
  counts(): JobCounts;
  /**
   * Whether a job goes on, or came to an end less than `withinMs` ago that its client does not know yet: one that asks
   * every now and then had no time to. One that had, and did not, asks no more, or seldom.
   */
  isBusy(withinMs: number): boolean;
  /**
   * Cancels what nobody waits for.
   * @returns the jobs whose ends no client knows.
   */
  close(): readonly string[];
}

interface ShelfOptions {
  /** The most bytes of answers that are kept, as kept-answers.ts counts them. */
  readonly maxBytes: number;
  /** Makes the answer that tells of an end. */
  readonly encode: (id: string, end: JobEnd) => Uint8Array;
  readonly nowMs?: () => number;
}

export function createJobShelf({ maxBytes, encode, nowMs }: ShelfOptions): JobShelf {
  const going = new Map<string, QueuedJob>();
  const kept = createKeptAnswers(maxBytes, nowMs);
  let completed = 0;
  let failed = 0;
  const waiting = () => [...going.values()].filter((job) => !job.isComputing());
  const shelf: JobShelf = {
    async add(job, keptMs) {
      going.set(job.id, job);
      const end = await job.ended;
      going.delete(job.id);
      if (end.error === undefined) completed += 1;
      else if (end.error.code !== 'CANCELLED') failed += 1;
      const answer = encode(job.id, end);
      if (!kept.keep(job.id, answer, keptMs)) {
        const error = new HandlerError(
          'PAYLOAD_TOO_LARGE',
          `Expected an output that can be kept, in ${maxBytes} bytes, got ${answer.length}. Ask for fewer items or outputs.`,
        );
        kept.keep(job.id, encode(job.id, { ...end, output: undefined, error }), keptMs);
      }
      return answer;
    },
    find: (id) => going.get(id),
    read: (id) => kept.read(id),
    async cancel(id) {
      const job = going.get(id);
      job?.cancel();
      await job?.ended;
      return kept.read(id);
    },
    async purge() {
      const answers = await Promise.all(waiting().map(({ id }) => shelf.cancel(id)));
      return answers.length;
    },
    counts() {
      const waitingCount = waiting().length;
      return { waiting: waitingCount, computing: going.size - waitingCount, completed, failed };
    },
    isBusy: (withinMs) => going.size > 0 || kept.unread(withinMs).length > 0,
    close() {
      const unheard = [...going.values()].filter((job) => !job.isAwaited());
      for (const job of unheard) job.cancel();
      return [...unheard.map(({ id }) => id), ...kept.unread()];
    },
  };
  return shelf;
}
