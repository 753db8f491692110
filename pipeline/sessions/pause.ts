/**
 * Called by a session between two runs of one batch. Meanwhile others may use the thread. It throws where nobody wants the
 * result any more.
 */
export type Pause = () => Promise<void>;

/** Nobody wants the result of a batch any more; thrown between its runs. */
export class BatchDropped extends Error {
  override readonly name = 'BatchDropped';
}

/** The pauses of one batch: one before every run but the first. */
export class Pauses {
  readonly #pause: Pause | undefined;
  #hasBegun = false;
  #totalMs = 0;

  constructor(pause: Pause | undefined) {
    this.#pause = pause;
  }

  /** How long all pauses took so far. */
  get totalMs(): number {
    return this.#totalMs;
  }

  /** @throws BatchDropped where nobody wants the result any more. */
  async beforeRun(): Promise<void> {
    const startMs = performance.now();
    if (this.#hasBegun) await this.#pause?.();
    this.#hasBegun = true;
    this.#totalMs += performance.now() - startMs;
  }
}
