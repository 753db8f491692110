/** A polled state, shared by all who watch it. */
export interface Watch<State> {
  /** The present state. */
  readonly current: () => State;
  /** Resolves when the state differs from the one that `current` last returned, or when `signal` aborts. */
  readonly changed: (signal: AbortSignal) => Promise<void>;
}

/**
 * Watches a state that has no events, by polling it every `intervalMs` while anybody waits for a change.
 * @param read returns the state; two states are the same when they are equal as JSON.
 * @param stopping when it aborts, all who wait continue.
 */
export function watchState<State>(read: () => State, intervalMs: number, stopping: AbortSignal): Watch<State> {
  const waiting = new Set<() => void>();
  let lastJson: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  const wakeAll = () => {
    for (const wake of waiting) wake();
  };
  const current = () => {
    const state = read();
    const json = JSON.stringify(state);
    if (json !== lastJson) {
      lastJson = json;
      wakeAll();
    }
    return state;
  };
  stopping.addEventListener('abort', wakeAll, { once: true });
  return {
    current,
    changed: (signal) =>
      new Promise((resolve) => {
        const wake = () => {
          waiting.delete(wake);
          signal.removeEventListener('abort', wake);
          if (waiting.size === 0) {
            clearInterval(timer);
            timer = undefined;
          }
          resolve();
        };
        waiting.add(wake);
        signal.addEventListener('abort', wake);
        timer ??= setInterval(current, intervalMs);
        if (signal.aborted || stopping.aborted) wake();
      }),
  };
}
