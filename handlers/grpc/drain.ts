import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** No request for this long, and none running: whoever sends them has noticed. */
const QUIET_MS = 250;
const CHECK_INTERVAL_MS = 25;

/** The requests to the models of a server, watched so that it can stop without losing one. */
export interface Draining {
  /** From here on health says that the server does not serve. */
  readonly isDraining: () => boolean;
  /** Aborts when the server has stopped accepting. */
  readonly stopping: AbortSignal;
  /** Counts a request as running, until the function that is returned is called. */
  readonly begin: () => () => void;
  /** Goes on accepting until requests stay away, or for `limitMs`. Then streams that are open end. */
  readonly drain: (limitMs: number) => Promise<void>;
  /** Resolves when no request has run for `quietMs`. It keeps no process alive. */
  readonly quiet: (quietMs: number) => Promise<void>;
}

/** Counts the requests to the models of a server, none yet. */
export function watchRequests(): Draining {
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal); // Every open stream listens.
  let draining = false;
  let running = 0;
  let lastRequestMs = 0;
  const isQuiet = (quietMs: number, sinceMs: number) =>
    running === 0 && performance.now() - Math.max(lastRequestMs, sinceMs) >= quietMs;
  return {
    isDraining: () => draining,
    stopping: stopping.signal,
    begin() {
      running += 1;
      lastRequestMs = performance.now();
      return () => {
        running -= 1;
        lastRequestMs = performance.now();
      };
    },
    async drain(limitMs) {
      draining = true;
      const startMs = performance.now();
      while (!isQuiet(QUIET_MS, startMs) && performance.now() - startMs < limitMs) await sleep(CHECK_INTERVAL_MS);
      stopping.abort();
    },
    async quiet(quietMs) {
      const startMs = performance.now();
      while (!isQuiet(quietMs, startMs)) await sleep(CHECK_INTERVAL_MS, undefined, { ref: false });
    },
  };
}
