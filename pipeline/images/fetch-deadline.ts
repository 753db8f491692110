/** The time that a fetch has. It stands still while the fetch waits for memory, which is not the host's fault. */
export class FetchDeadline {
  readonly #expiry = new AbortController();
  #remainingMs: number;
  #resumedMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(timeoutMs: number) {
    this.#remainingMs = timeoutMs;
    this.#resume();
  }

  /** Aborts when the time is over. */
  get signal(): AbortSignal {
    return this.#expiry.signal;
  }

  /** Waits for something that does not count. */
  async during(waiting: Promise<void>): Promise<void> {
    this.#pause();
    try {
      await waiting;
    } finally {
      this.#resume();
    }
  }

  /** The fetch is over. */
  end(): void {
    clearTimeout(this.#timer);
  }

  #pause(): void {
    clearTimeout(this.#timer);
    this.#remainingMs -= performance.now() - this.#resumedMs;
  }

  #resume(): void {
    this.#resumedMs = performance.now();
    this.#timer = setTimeout(() => this.#expiry.abort(), Math.max(0, this.#remainingMs));
    this.#timer.unref();
  }
}
