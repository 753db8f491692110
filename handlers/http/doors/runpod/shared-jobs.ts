import { createHash, randomUUID } from 'node:crypto';
import { JobRecords, renewLease, type SharedCounts } from './job-records.ts';
import type { JobShelf } from './job-shelf.ts';
import { type JobEnd, type QueuedJob, statusOf } from './queued-job.ts';
import type { RedisConnection } from './redis-connection.ts';

/** The side of the replica that runs a job which others are to know: docs/decisions/0047-kubernetes.md. */

/** A process that has not said for so long that it lives has died, with its jobs. */
const LEASE_MS = 15_000;
/** How often it says so, and looks for the wishes of other replicas. */
const BEAT_MS = 1_000;
/** Enough that no two tokens and models share a scope. */
const SCOPE_DIGITS = 32;
/** How an answer is told about in Redis. */
interface Outcome {
  readonly keptMs: number;
  readonly counted: keyof SharedCounts | undefined;
}

/** A job that begins to be shared. */
export interface PublishedJob {
  readonly job: QueuedJob;
  readonly records: JobRecords;
  readonly shelf: JobShelf;
  /** Resolves when the shelf has the answer about the job's end. */
  readonly ending: Promise<unknown>;
  /** How long that answer is kept. */
  readonly keptMs: number;
}

/** A job of this process, until Redis has its end. */
interface FollowedJob extends Pick<PublishedJob, 'job' | 'records' | 'shelf'> {
  /** Once it has ended. */
  outcome: Outcome | undefined;
  /** While the end is on its way to Redis. */
  storing: Promise<void> | undefined;
}

/** The jobs of this process that other replicas are to know. */
export class SharedJobs {
  readonly #connection: RedisConnection;
  readonly #owner = randomUUID();
  readonly #followed = new Map<string, FollowedJob>();
  /** One for each followed job: resolves when its end was told to Redis for the first time. */
  readonly #ends = new Set<Promise<void>>();
  #beating: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(connection: RedisConnection) {
    this.#connection = connection;
  }

  /**
   * The records of a token and a model.
   * @param maxBytes the most bytes of answers that Redis keeps for them.
   */
  records(token: string | undefined, modelName: string, maxBytes: number): JobRecords {
    const scope = createHash('sha256')
      .update(JSON.stringify([token ?? null, modelName]))
      .digest('hex');
    return new JobRecords(this.#connection, scope.slice(0, SCOPE_DIGITS), maxBytes);
  }

  /**
   * Makes a running job known, and its end when it ends.
   * @throws HandlerError `NOT_READY` when Redis does not answer. The job runs on, and its end is made known nevertheless.
   */
  async publish({ job, records, shelf, ending, keptMs }: PublishedJob): Promise<void> {
    if (this.#isClosed) return;
    const followed: FollowedJob = { job, records, shelf, outcome: undefined, storing: undefined };
    this.#followed.set(job.id, followed);
    this.#beating ??= setInterval(() => void this.#beat(), BEAT_MS).unref();
    this.#addEnd(this.#followToEnd(followed, ending, keptMs));
    await Promise.all([
      renewLease(this.#connection, this.#owner, LEASE_MS),
      records.renew(job.id, this.#owner, statusOf(job)),
    ]);
  }

  /** Waits for the ends of all jobs, which other replicas then answer for; then ends the connection. */
  async close(): Promise<void> {
    while (this.#ends.size > 0) await Promise.all(this.#ends);
    this.#isClosed = true;
    await this.#beat();
    clearInterval(this.#beating);
    this.#beating = undefined;
    await this.#connection.close();
  }

  async #followToEnd(followed: FollowedJob, ending: Promise<unknown>, keptMs: number): Promise<void> {
    const end = await followed.job.ended;
    await ending;
    followed.outcome = { keptMs, counted: countedAs(end) };
    await this.#tend(followed).catch(() => undefined); // The next beat tries again.
  }

  #addEnd(end: Promise<void>): void {
    this.#ends.add(end);
    void end.finally(() => this.#ends.delete(end));
  }

  async #beat(): Promise<void> {
    if (this.#followed.size === 0) return;
    const tending = [...this.#followed.values()].map((followed) => this.#tend(followed));
    await Promise.allSettled([renewLease(this.#connection, this.#owner, LEASE_MS), ...tending]);
  }

  /** Tells Redis how far a job is. */
  async #tend(followed: FollowedJob): Promise<void> {
    const { job, records, outcome } = followed;
    if (outcome === undefined) {
      const wish = await records.renew(job.id, this.#owner, statusOf(job));
      if (wish === 'always' || (wish === 'while-queued' && !job.isComputing())) job.cancel();
      return;
    }
    followed.storing ??= storeEnd(followed, outcome).finally(() => {
      followed.storing = undefined;
    });
    await followed.storing;
    this.#followed.delete(job.id);
  }
}

/** Redis answers for the job from here on. Nothing is stored where the shelf has no room for the answer any more. */
async function storeEnd({ job: { id }, records, shelf }: FollowedJob, { keptMs, counted }: Outcome): Promise<void> {
  const answer = shelf.kept(id);
  if (answer === undefined) return;
  const isFirst = await records.end(id, Buffer.from(answer).toString(), keptMs, counted);
  if (!isFirst) shelf.drop(id); // Another replica took this process for dead, and clients know that end.
  shelf.read(id); // Nobody has to come back to this process for it.
}

function countedAs({ error }: JobEnd): keyof SharedCounts | undefined {
  if (error === undefined) return 'completed';
  return error.code === 'CANCELLED' ? undefined : 'failed';
}
