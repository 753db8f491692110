import { HandlerError } from '../../protocol/errors.ts';
import type { InferenceWorker } from './worker-thread.ts';

type Client = string | undefined;

/** A batch that pauses between its runs. */
interface Suspended {
  readonly clients: readonly Client[];
  readonly resume: () => void;
}

interface Waiting {
  readonly resolve: (worker: InferenceWorker) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Knows which workers of a pool live, and which of them are idle. Batches wait for a worker, but not for ever. A long batch
 * pauses between its runs, and lets batches of other clients use its worker: docs/decisions/0031-work-has-bounds.md.
 */
export class WorkerRoster {
  readonly #live = new Set<InferenceWorker>();
  readonly #idle: InferenceWorker[] = [];
  readonly #waiting: Waiting[] = [];
  /** The batches that pause on each worker, in the order of their turns. */
  readonly #suspended = new Map<InferenceWorker, Suspended[]>();
  /** Callers that want a certain worker once it is idle. They learn whether they have it, or it left. */
  readonly #wanted = new Map<InferenceWorker, (isTaken: boolean) => void>();
  readonly #listeners: (() => void)[] = [];
  readonly #outage: Outage;

  /** @param outageLimitMs how long batches wait while no worker lives. Then they are refused, until one lives again. */
  constructor(outageLimitMs: number) {
    this.#outage = new Outage(outageLimitMs, () => {
      for (const { reject } of this.#waiting.splice(0)) reject(noWorker());
      this.#announceRoom();
    });
  }

  liveCount(): number {
    return this.#live.size;
  }

  /** Whether a worker lives that is not overdue with a run. */
  isServing(): boolean {
    return [...this.#live].some((worker) => !worker.isOverdue());
  }

  /** Whether `take` returns or throws at once: a worker is idle, or batches are refused. */
  hasRoom(): boolean {
    return this.#idle.length > 0 || this.#outage.isTooLong;
  }

  /** How many workers are idle. */
  idleCount(): number {
    return this.#idle.length;
  }

  /** Whether `take` returns or throws at once for a batch of this client. */
  hasRoomFor(client: Client): boolean {
    return this.#outage.isTooLong || this.#idle.some((worker) => !this.#hasSuspended(worker, [client]));
  }

  /** Calls back whenever a worker becomes idle, or batches are refused from now on. Several listeners take turns. */
  onRoom(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** @throws HandlerError `NOT_READY` when no worker has lived for `outageLimitMs`. */
  requireServing(): void {
    if (this.#outage.isTooLong) throw noWorker();
  }

  /**
   * Takes an idle worker on which no batch of these clients pauses. The caller has made sure that there is room.
   * @throws HandlerError as `requireServing` does.
   */
  take(clients: readonly Client[] = []): InferenceWorker {
    this.requireServing();
    const index = this.#idle.findLastIndex((worker) => !this.#hasSuspended(worker, clients));
    const [worker] = index === -1 ? [] : this.#idle.splice(index, 1);
    if (worker === undefined) throw new Error('Expected an idle worker, got none.');
    return worker;
  }

  /**
   * Takes the next worker that is idle, before any batch that has not begun.
   * @throws HandlerError as `requireServing` does, also when that becomes true while the caller waits.
   */
  async takeNext(): Promise<InferenceWorker> {
    this.requireServing();
    const idle = this.#idle.pop();
    return idle ?? (await new Promise<InferenceWorker>((resolve, reject) => this.#waiting.push({ resolve, reject })));
  }

  /**
   * Takes a certain worker once it is idle and no batch pauses on it, before any batch that has not begun.
   * @returns false when the worker left, or the signal aborted, before.
   */
  async takeOnceIdle(worker: InferenceWorker, signal: AbortSignal): Promise<boolean> {
    if (!this.#live.has(worker) || signal.aborted) return false;
    if (this.#removeIdle(worker)) return true;
    const stop = () => void this.#endWanting(worker, false);
    signal.addEventListener('abort', stop);
    const taken = new Promise<boolean>((resolve) => this.#wanted.set(worker, resolve));
    return await taken.finally(() => signal.removeEventListener('abort', stop));
  }

  /** Adds a worker that has started. */
  join(worker: InferenceWorker): void {
    this.#outage.end();
    this.#live.add(worker);
    this.giveBack(worker);
  }

  /** Takes back a worker that is done with its batch and lives. A batch that pauses on it goes on. */
  giveBack(worker: InferenceWorker): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next.resolve(worker);
    } else if (!this.#resumeOne(worker) && !this.#endWanting(worker, true)) {
      this.#idle.push(worker);
      this.#announceRoom();
    }
  }

  /**
   * Takes back a worker whose batch pauses, and resolves when the batch has the worker again: at once, where no other
   * client waits. Batches that pause and batches that are new take turns, so that neither waits for all of the other.
   */
  async pause(worker: InferenceWorker, clients: readonly Client[]): Promise<void> {
    const resumed = new Promise<void>((resume) => {
      const suspended = this.#suspended.get(worker) ?? [];
      suspended.push({ clients, resume });
      this.#suspended.set(worker, suspended);
    });
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#idle.push(worker);
      this.#announceRoom();
      if (this.#removeIdle(worker)) this.#resumeOne(worker);
    } else {
      next.resolve(worker);
    }
    await resumed;
  }

  /** Removes a worker that ended. Batches that pause on it go on, and find that it ended. */
  leave(worker: InferenceWorker): void {
    while (this.#resumeOne(worker));
    this.#suspended.delete(worker);
    this.#live.delete(worker);
    this.#endWanting(worker, false);
    this.#removeIdle(worker);
    if (this.#live.size === 0) this.#outage.begin();
  }

  /** From here on workers end because they were told to, which is no outage. */
  close(): void {
    this.#outage.close();
  }

  /** @returns whether a caller wanted the worker. */
  #endWanting(worker: InferenceWorker, isTaken: boolean): boolean {
    this.#wanted.get(worker)?.(isTaken);
    return this.#wanted.delete(worker);
  }

  /** @returns whether the worker was idle. */
  #removeIdle(worker: InferenceWorker): boolean {
    const index = this.#idle.indexOf(worker);
    if (index !== -1) this.#idle.splice(index, 1);
    return index !== -1;
  }

  #hasSuspended(worker: InferenceWorker, clients: readonly Client[]): boolean {
    const suspended = this.#suspended.get(worker) ?? [];
    return suspended.some((batch) => batch.clients.some((client) => clients.includes(client)));
  }

  /** Lets the batch go on whose turn it is. @returns whether one pauses. */
  #resumeOne(worker: InferenceWorker): boolean {
    const batch = this.#suspended.get(worker)?.shift();
    batch?.resume();
    return batch !== undefined;
  }

  /** Begins with another listener each time, so that none takes every idle worker from the others. */
  #announceRoom(): void {
    const first = this.#listeners.shift();
    if (first !== undefined) this.#listeners.push(first);
    for (const listener of [...this.#listeners]) listener();
  }
}

function noWorker(): HandlerError {
  return new HandlerError(
    'NOT_READY',
    'Expected a worker thread to be alive, got none: they ended, and no new one has started yet.',
  );
}

/** A time without workers. It calls `onTooLong` after `limitMs`. */
class Outage {
  readonly #limitMs: number;
  readonly #onTooLong: () => void;
  #timer: NodeJS.Timeout | undefined;
  #isTooLong = false;
  #isClosed = false;

  constructor(limitMs: number, onTooLong: () => void) {
    this.#limitMs = limitMs;
    this.#onTooLong = onTooLong;
  }

  get isTooLong(): boolean {
    return this.#isTooLong;
  }

  begin(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#isTooLong = true;
      this.#onTooLong();
    }, this.#limitMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#isTooLong = false;
  }

  close(): void {
    this.#isClosed = true;
    this.end();
  }
}
