import { setTimeout as sleep } from 'node:timers/promises';

/** Clients have noticed that a server stops when no request ran and none came for this long. */
const QUIET_MS = 250;
const CHECK_INTERVAL_MS = 25;

/** The time of the process, and waiting. */
export interface DrainClock {
  nowMs(): number;
  /** @param options `ref: false` where waiting alone shall not keep the process alive. */
  sleep(durationMs: number, options?: { readonly ref: boolean }): Promise<void>;
}

const processClock: DrainClock = {
  nowMs: () => performance.now(),
  sleep: (durationMs, options) => sleep(durationMs, undefined, options),
};

/** Counts the running requests of a server, so that the server can stop without losing one. */
export class Drain {
  readonly #clock: DrainClock;
  readonly #busyChecks: ((limitMs: number) => boolean)[] = [];
  #isDraining = false;
  #runningCount = 0;
  #lastRequestMs = 0;

  constructor(clock: DrainClock = processClock) {
    this.#clock = clock;
  }

  /** Whether the server was told to stop. It still answers, but says that it is not ready. */
  isDraining(): boolean {
    return this.#isDraining;
  }

  /** Counts a request as running, until `end` is called for it. */
  begin(): void {
    this.#runningCount += 1;
    this.#lastRequestMs = this.#clock.nowMs();
  }

  /** Ends a request that `begin` counted, because it was answered or its client left. */
  end(): void {
    this.#runningCount -= 1;
    this.#lastRequestMs = this.#clock.nowMs();
  }

  /** Counts a request as running while `work` does. */
  async count<T>(work: () => Promise<T>): Promise<T> {
    this.begin();
    try {
      return await work();
    } finally {
      this.end();
    }
  }

  /**
   * Makes `untilQuiet` wait, within its limit, while clients have something to come back for.
   * @param isBusy gets the limit, because a client that comes back more seldom is not worth waiting for.
   */
  waitWhile(isBusy: (limitMs: number) => boolean): void {
    this.#busyChecks.push(isBusy);
  }

  /** Makes the server not ready, and resolves when requests stay away, or after `limitMs`. */
  async untilQuiet(limitMs: number): Promise<void> {
    this.#isDraining = true;
    const startMs = this.#clock.nowMs();
    const isBusy = () => this.#busyChecks.some((check) => check(limitMs));
    const isLate = () => this.#clock.nowMs() - startMs >= limitMs;
    while ((!this.#isQuiet(QUIET_MS, startMs) || isBusy()) && !isLate()) await this.#clock.sleep(CHECK_INTERVAL_MS);
  }

  /** Resolves when no request has run for `quietMs`. It keeps no process alive. */
  async quietFor(quietMs: number): Promise<void> {
    const startMs = this.#clock.nowMs();
    while (!this.#isQuiet(quietMs, startMs)) await this.#clock.sleep(CHECK_INTERVAL_MS, { ref: false });
  }

  #isQuiet(quietMs: number, sinceMs: number): boolean {
    return this.#runningCount === 0 && this.#clock.nowMs() - Math.max(this.#lastRequestMs, sinceMs) >= quietMs;
  }
}
