import type { JobStatus } from './queued-job.ts';
import type { RedisConnection } from './redis-connection.ts';

/**
 * The jobs of one token and model in Redis, where all replicas find them: a hash for each job, the ids of those that run,
 * and the sizes of the answers that are kept. All keys of one scope have one hash tag, so that a cluster keeps them on
 * one node.
 */

/** A wish of another replica: to end a job in any case, or unless a worker has taken it. */
export type CancelWish = 'always' | 'while-queued';

/** The answer about the end of a job; or how far it is, and the process that runs it. */
export type JobRecord = { readonly answer: string } | { readonly status: JobStatus; readonly owner: string };

export interface SharedCounts {
  readonly completed: number;
  readonly failed: number;
}

/** Records of running jobs are renewed within this time. Those of a process that has died are kept for as long. */
const RUNNING_KEPT_MS = 30 * 60_000;
/** Counts of a scope without jobs. */
const COUNTS_KEPT_MS = 24 * 60 * 60_000;
/** Added to the bytes of each answer, for its record, so that a bound of bytes bounds the number of answers too. */
const RECORD_BYTES = 1_024;

const PREFIX = 'blip-handler:';

/**
 * Writes an end, unless there is one. Answers that expire soonest go, where there is no room.
 * KEYS: job, running, kept, bytes, counts. ARGV: id, answer, its size, milliseconds to keep it, the most bytes, the
 * prefix of jobs, the count to increase or nothing, milliseconds to keep counts.
 */
const END = `
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[1], 'answer') == 1 then return 0 end
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local size, keptMs, maxBytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local function drop(members)
  for _, member in ipairs(members) do
    local id, bytes = string.match(member, '^(.*):(%d+)$')
    redis.call('ZREM', KEYS[3], member)
    redis.call('DECRBY', KEYS[4], bytes)
    redis.call('DEL', ARGV[6] .. id)
  end
end
drop(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', nowMs))
while tonumber(redis.call('GET', KEYS[4]) or '0') + size > maxBytes do
  local oldest = redis.call('ZRANGE', KEYS[3], 0, 0)
  if #oldest == 0 then redis.call('DEL', KEYS[4]) break end
  drop(oldest)
end
redis.call('HSET', KEYS[1], 'answer', ARGV[2])
redis.call('PEXPIRE', KEYS[1], keptMs)
redis.call('ZADD', KEYS[3], nowMs + keptMs, ARGV[1] .. ':' .. size)
redis.call('INCRBY', KEYS[4], size)
local longestMs = math.max(keptMs, redis.call('PTTL', KEYS[3]))
redis.call('PEXPIRE', KEYS[3], longestMs)
redis.call('PEXPIRE', KEYS[4], longestMs)
if ARGV[7] ~= '' then
  redis.call('HINCRBY', KEYS[5], ARGV[7], 1)
  redis.call('PEXPIRE', KEYS[5], ARGV[8])
end
return 1
`;

/** Leaves a wish for the owner of a job that still has a record. KEYS: job. ARGV: the wish. */
const WISH = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'cancel', ARGV[1])
return 1
`;

export class JobRecords {
  readonly #connection: RedisConnection;
  readonly #prefix: string;
  readonly #maxBytes: number;

  /**
   * @param scope names the token and the model; it has no braces.
   * @param maxBytes the most bytes of answers that the scope keeps.
   */
  constructor(connection: RedisConnection, scope: string, maxBytes: number) {
    this.#connection = connection;
    this.#prefix = `${PREFIX}{${scope}}:`;
    this.#maxBytes = Math.floor(maxBytes);
  }

  /**
   * Makes a running job known, and how far it is.
   * @returns what another replica wishes for it.
   */
  async renew(id: string, owner: string, status: JobStatus): Promise<CancelWish | undefined> {
    const [job, running] = [this.#jobKey(id), this.#key('running')];
    const [wish] = await this.#connection.run((client) =>
      Promise.all([
        client.hGet(job, 'cancel'),
        client.multi().hSet(job, { owner, status }).pExpire(job, RUNNING_KEPT_MS).exec(),
        client.multi().sAdd(running, id).pExpire(running, RUNNING_KEPT_MS).exec(),
      ]),
    );
    return wish === 'always' || wish === 'while-queued' ? wish : undefined;
  }

  /**
   * Keeps the answer about the end of a job.
   * @param counted where the job counts; `undefined` for nowhere.
   * @returns whether it was the first one: a later one has no effect.
   */
  async end(id: string, answer: string, keptMs: number, counted?: keyof SharedCounts): Promise<boolean> {
    const size = Buffer.byteLength(answer) + RECORD_BYTES;
    const keys = [this.#jobKey(id), this.#key('running'), this.#key('kept'), this.#key('bytes'), this.#key('counts')];
    const values = [id, answer, size, keptMs, this.#maxBytes, this.#jobKey(''), counted ?? '', COUNTS_KEPT_MS];
    const stored = await this.#connection.run((client) => client.eval(END, { keys, arguments: values.map(String) }));
    return stored === 1;
  }

  /** `undefined` for an id that nobody knows. */
  async read(id: string): Promise<JobRecord | undefined> {
    const record = await this.#connection.run((client) => client.hGetAll(this.#jobKey(id)));
    const { status, owner, answer } = record;
    if (answer !== undefined) return { answer };
    return owner === undefined ? undefined : { status: status === 'IN_PROGRESS' ? status : 'IN_QUEUE', owner };
  }

  /** @returns whether the job has a record. */
  async wish(id: string, wish: CancelWish): Promise<boolean> {
    const keys = [this.#jobKey(id)];
    return (await this.#connection.run((client) => client.eval(WISH, { keys, arguments: [wish] }))) === 1;
  }

  /** Ids of the jobs that run, also of those whose process has died. */
  async running(): Promise<readonly string[]> {
    return await this.#connection.run((client) => client.sMembers(this.#key('running')));
  }

  /** Takes an id without a record from those that run. */
  async forget(id: string): Promise<void> {
    await this.#connection.run((client) => client.sRem(this.#key('running'), id));
  }

  /** Whether a process has said lately that it lives. */
  async lives(owner: string): Promise<boolean> {
    return (await this.#connection.run((client) => client.exists(leaseKey(owner)))) === 1;
  }

  async counts(): Promise<SharedCounts> {
    const { completed, failed } = await this.#connection.run((client) => client.hGetAll(this.#key('counts')));
    return { completed: Number(completed ?? 0), failed: Number(failed ?? 0) };
  }

  #jobKey(id: string): string {
    return this.#key(`job:${id}`);
  }

  #key(name: string): string {
    return this.#prefix + name;
  }
}

/** Says for a while that a process lives. */
export async function renewLease(connection: RedisConnection, owner: string, leaseMs: number): Promise<void> {
  await connection.run((client) => client.set(leaseKey(owner), '1', { PX: leaseMs }));
}

function leaseKey(owner: string): string {
  return `${PREFIX}process:${owner}`;
}
