/** One look at a time at a state, for all who watch it. */
export interface Watch<State> {
  /** The state now. */
  readonly current: () => State;
  /** Resolves when the state is another than it was when `current` was last called, or when `signal` aborts. */
  readonly changed: (signal: AbortSignal) => Promise<void>;
}

/**
 * Watches what no event tells of: by looking every `intervalMs`, while anybody waits for a change.
 * @param look gives the state; two are the same when they are equal as JSON.
 * @param stopping when it aborts, all who wait go on.
 */
export function watchState<State>(look: () => State, intervalMs: number, stopping: AbortSignal): Watch<State> {
  const waiting = new Set<() => void>();
  let known: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  const wakeAll = () => {
    for (const wake of waiting) wake();
  };
  const current = () => {
    const state = look();
    const seen = JSON.stringify(state);
    if (seen !== known) {
      known = seen;
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
