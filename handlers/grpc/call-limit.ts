/**
 * The open calls of one kind. Beyond their maximum the oldest one is ended, so that strangers who leave calls open keep
 * nobody out: a probe's call is over at once.
 */
export class CallLimit {
  readonly #maximum: number;
  /** The functions that end the calls, the oldest first. */
  readonly #ends = new Map<object, () => void>();

  constructor(maximum: number) {
    this.#maximum = maximum;
  }

  /**
   * Counts a call.
   * @param end ends it, if it is the oldest one when there are too many.
   */
  add(call: object, end: () => void): void {
    this.#ends.set(call, end);
    if (this.#ends.size <= this.#maximum) return;
    for (const [oldest, endOldest] of this.#ends) {
      this.#ends.delete(oldest);
      endOldest();
      return;
    }
  }

  /** A call is over, or no longer of this kind. */
  delete(call: object): void {
    this.#ends.delete(call);
  }
}
