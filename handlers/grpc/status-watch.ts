/**
 * A state that has no events, shared by all who watch it: it is polled every `intervalMs` while anybody waits for a
 * change. Two states are equal when their JSON is.
 */
export class StatusWatch<State> {
  readonly #read: () => State;
  readonly #intervalMs: number;
  readonly #stopping: AbortSignal;
  readonly #waiting = new Set<() => void>();
  #lastJson: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param stopping when it aborts, all who wait continue. */
  constructor(read: () => State, intervalMs: number, stopping: AbortSignal) {
    this.#read = read;
    this.#intervalMs = intervalMs;
    this.#stopping = stopping;
    stopping.addEventListener('abort', () => this.#wakeAll(), { once: true });
  }

  /** The present state. */
  current(): State {
    const state = this.#read();
    const json = JSON.stringify(state);
    if (json !== this.#lastJson) {
      this.#lastJson = json;
      this.#wakeAll();
    }
    return state;
  }

  /** Resolves when the state differs from the one that `current` last returned, or when `signal` aborts. */
  async changed(signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#stopping.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        this.#leave(wake);
        resolve();
      };
      signal.addEventListener('abort', wake);
      this.#enter(wake);
    });
  }

  #enter(wake: () => void): void {
    this.#waiting.add(wake);
    this.#timer ??= setInterval(() => this.current(), this.#intervalMs);
  }

  #leave(wake: () => void): void {
    this.#waiting.delete(wake);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #wakeAll(): void {
    for (const wake of this.#waiting) wake();
  }
}
