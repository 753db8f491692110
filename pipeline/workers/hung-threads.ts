/** The threads that were given up and have not ended. There may be so many beside the workers that took their places. */
export class HungThreads {
  readonly #maximum: number;
  readonly #onNotice: (line: string) => void;
  readonly #stopping: AbortSignal;
  readonly #hung = new Set<Promise<unknown>>();

  constructor(maximum: number, onNotice: (line: string) => void, stopping: AbortSignal) {
    this.#maximum = maximum;
    this.#onNotice = onNotice;
    this.#stopping = stopping;
  }

  /** @param gone resolves when the thread has ended after all. */
  add(gone: Promise<unknown>): void {
    this.#hung.add(gone);
    void gone.finally(() => this.#hung.delete(gone));
  }

  /** Waits until another worker may start: at once, as long as no more threads than the maximum hang. */
  async room(): Promise<void> {
    if (this.#hung.size <= this.#maximum || this.#stopping.aborted) return;
    this.#onNotice(`${this.#hung.size} worker threads hang, so that no new one is started. Restart the process.`);
    const stopped = new Promise((resolve) => this.#stopping.addEventListener('abort', resolve, { once: true }));
    while (this.#hung.size > this.#maximum && !this.#stopping.aborted) await Promise.race([...this.#hung, stopped]);
  }
}
