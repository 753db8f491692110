import { setTimeout as sleep } from 'node:timers/promises';

/** Clients have noticed that a server stops when no request ran and none came for this long. */
const QUIET_MS = 250;
const CHECK_INTERVAL_MS = 25;

/** Counts the running requests of a server, so that the server can stop without losing one. */
export class Drain {
  readonly #busyChecks: ((limitMs: number) => boolean)[] = [];
  #isDraining = false;
  #runningCount = 0;
  #lastRequestMs = 0;

  /** Whether the server was told to stop. It still answers, but says that it is not ready. */
  isDraining(): boolean {
    return this.#isDraining;
  }

  /** Counts a request as running, until `end` is called for it. */
  begin(): void {
    this.#runningCount += 1;
    this.#lastRequestMs = performance.now();
  }

  /** The end of a request that `begin` counted: it was answered, or its client left. */
  end(): void {
    this.#runningCount -= 1;
    this.#lastRequestMs = performance.now();
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
   * @param isBusy says so. It is told the limit, because a client that comes back more seldom is not worth waiting for.
   */
  waitWhile(isBusy: (limitMs: number) => boolean): void {
    this.#busyChecks.push(isBusy);
  }

  /** Makes the server not ready, and resolves when requests stay away, or after `limitMs`. */
  async untilQuiet(limitMs: number): Promise<void> {
    this.#isDraining = true;
    const startMs = performance.now();
    const isBusy = () => this.#busyChecks.some((check) => check(limitMs));
    const isLate = () => performance.now() - startMs >= limitMs;
    while ((!this.#isQuiet(QUIET_MS, startMs) || isBusy()) && !isLate()) await sleep(CHECK_INTERVAL_MS);
  }

  /** Resolves when no request has run for `quietMs`. It keeps no process alive. */
  async quietFor(quietMs: number): Promise<void> {
    const startMs = performance.now();
    while (!this.#isQuiet(quietMs, startMs)) await sleep(CHECK_INTERVAL_MS, undefined, { ref: false });
  }

  #isQuiet(quietMs: number, sinceMs: number): boolean {
    return this.#runningCount === 0 && performance.now() - Math.max(this.#lastRequestMs, sinceMs) >= quietMs;
  }
}
