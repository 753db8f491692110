import { HandlerError } from '../../../../protocol/errors.ts';
import type { RedisClient } from './redis-client.ts';

/** Longer than a healthy Redis ever takes, and short enough for a client that waits for its answer. */
const ANSWER_LIMIT_MS = 2_000;

interface ConnectionLog {
  info(message: string): void;
  warn(details: object, message: string): void;
}

/**
 * The connection of a process to Redis, which opens with the first command. While Redis is away, commands fail at once,
 * and the connection opens again by itself.
 */
export class RedisConnection {
  readonly #url: string;
  readonly #log: ConnectionLog;
  #opening: Promise<RedisClient> | undefined;
  #isAway = false;

  /** @param url may have a password: it is not logged. */
  constructor(url: string, log: ConnectionLog) {
    this.#url = url;
    this.#log = log;
  }

  /** @throws HandlerError `NOT_READY` when Redis does not answer, or refuses the command. */
  async run<T>(ask: (client: RedisClient) => Promise<T>): Promise<T> {
    try {
      this.#opening ??= this.#open();
      const answer = await inTime(this.#opening.then(ask));
      this.#reportBack();
      return answer;
    } catch (cause) {
      this.#reportAway(cause);
      const expected = 'Expected an answer of Redis (BLIP_REDIS_URL), which knows the jobs of all replicas, got none.';
      throw new HandlerError('NOT_READY', `${expected} Ask again.`, { cause });
    }
  }

  /** Ends the connection. A later command opens another one. */
  async close(): Promise<void> {
    const client = await this.#opening;
    this.#opening = undefined;
    client?.destroy();
  }

  /** @returns the client when it is ready, or when its first attempt has failed. */
  async #open(): Promise<RedisClient> {
    const { makeRedisClient } = await import('./redis-client.ts');
    const client = makeRedisClient(this.#url, ANSWER_LIMIT_MS);
    const attempted = new Promise<void>((resolve) => {
      client.once('ready', resolve);
      client.once('error', () => resolve());
    });
    client.on('error', (error: unknown) => this.#reportAway(error));
    client.connect().catch(() => undefined); // Its errors are events too.
    await attempted;
    return client;
  }

  /** Once, however many attempts fail. */
  #reportAway(cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : String(cause);
    if (!this.#isAway) this.#log.warn({ reason }, 'Redis does not answer: jobs of other replicas are unknown');
    this.#isAway = true;
  }

  #reportBack(): void {
    if (this.#isAway) this.#log.info('Redis answers again');
    this.#isAway = false;
  }
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_LIMIT_MS} ms`)), ANSWER_LIMIT_MS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
