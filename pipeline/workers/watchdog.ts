/** A limit is counted in so many parts, so that a process that was stopped for hours counts one of them, not all. */
const PARTS = 10;

/** Tells when something that was waited for takes too long. */
export class Watchdog {
  readonly #limitMs: number;
  readonly #onHung: (limitMs: number) => void;
  #timer: NodeJS.Timeout | undefined;
  #parts = 0;

  /** @param onHung called once `watch` has waited for the limit. */
  constructor(limitMs: number, onHung: (limitMs: number) => void) {
    this.#limitMs = limitMs;
    this.#onHung = onHung;
  }

  /** Whether what it watches has taken half of the limit, or more. */
  isOverdue(): boolean {
    return this.#parts >= PARTS / 2;
  }

  /** Waits for one thing at a time. */
  async watch<T>(work: Promise<T>): Promise<T> {
    this.#parts = 0;
    this.#timer = setInterval(() => this.#count(), this.#limitMs / PARTS);
    try {
      return await work;
    } finally {
      clearInterval(this.#timer);
      this.#parts = 0;
    }
  }

  #count(): void {
    this.#parts += 1;
    if (this.#parts < PARTS) return;
    clearInterval(this.#timer);
    this.#onHung(this.#limitMs);
  }
}
