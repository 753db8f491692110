import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkerRoster } from './worker-roster.ts';
import { type InferenceWorker, WorkerEndedError } from './worker-thread.ts';

/** When workers pack their weights: docs/decisions/0036-weights-starts-and-workers.md. */
export interface PackingTimes {
  /** How long no worker has computed before one packs. */
  readonly quietMs: number;
  /** How long a worker waits for that at most. Then it packs before the next batch that it would take. */
  readonly patienceMs: number;
}

export const usualPackingTimes: PackingTimes = { quietMs: 1_000, patienceMs: 10_000 };

/** Lets the workers of a pool pack their weights, one after the other, so that the others serve meanwhile. */
export class WeightsPacking {
  readonly #roster: WorkerRoster;
  readonly #times: PackingTimes;
  readonly #onNotice: (line: string) => void;
  readonly #stopping = new AbortController();
  #quietSinceMs = performance.now();
  #runningBatches = 0;
  #turn: Promise<void> = Promise.resolve();

  constructor(roster: WorkerRoster, times: PackingTimes, onNotice: (line: string) => void) {
    this.#roster = roster;
    this.#times = times;
    this.#onNotice = onNotice;
  }

  /** Packs the weights of a worker that has joined the roster, after those of the workers before it. */
  add(worker: InferenceWorker): void {
    this.#turn = this.#turn.then(() => this.#packInTime(worker));
  }

  /** Counts a batch while it runs. */
  async observe<Result>(run: Promise<Result>): Promise<Result> {
    this.#runningBatches += 1;
    try {
      return await run;
    } finally {
      this.#runningBatches -= 1;
      this.#quietSinceMs = performance.now();
    }
  }

  /** Begins no packing any more, and waits for the one that is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#turn;
  }

  async #packInTime(worker: InferenceWorker): Promise<void> {
    await this.#quiet();
    const { signal } = this.#stopping;
    if (signal.aborted || !(await this.#roster.takeOnceIdle(worker, signal))) return;
    const problem = await this.#pack(worker);
    if (!(problem instanceof WorkerEndedError)) this.#roster.giveBack(worker);
  }

  /** Resolves when no batch has run for long enough, or after all patience. */
  async #quiet(): Promise<void> {
    const { quietMs, patienceMs } = this.#times;
    const { signal } = this.#stopping;
    const endMs = performance.now() + patienceMs;
    this.#quietSinceMs = performance.now();
    while (!signal.aborted && !this.#isQuiet() && performance.now() < endMs)
      await sleep(quietMs / 4, undefined, { signal, ref: false }).catch(() => undefined);
  }

  #isQuiet(): boolean {
    return this.#runningBatches === 0 && performance.now() - this.#quietSinceMs >= this.#times.quietMs;
  }

  /** @returns what kept the worker from packing, if anything did. */
  async #pack(worker: InferenceWorker): Promise<unknown> {
    try {
      const packMs = await worker.pack();
      this.#onNotice(`A worker packed its weights in ${Math.round(packMs)} ms.`);
      return undefined;
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      this.#onNotice(`A worker could not pack its weights, and computes with mapped ones: ${reason}`);
      return thrown;
    }
  }
}
