/** A terminal and npm may both send the signal that a person sends once. */
const SAME_SIGNAL_MS = 250;

const stopSignals = ['SIGTERM', 'SIGINT'] as const;
export type StopSignal = (typeof stopSignals)[number];

/**
 * Stops at the first signal. A second one ends the process at once: a person who asks twice does not want to wait, and a
 * thread that hangs must not keep the process.
 */
export function stopOnSignals(stop: (signal: StopSignal) => void): void {
  let first: { readonly signal: StopSignal; readonly receivedMs: number } | undefined;
  for (const signal of stopSignals) {
    process.on(signal, () => {
      const receivedMs = performance.now();
      if (first === undefined) {
        first = { signal, receivedMs };
        stop(signal);
      } else if (signal !== first.signal || receivedMs - first.receivedMs >= SAME_SIGNAL_MS) {
        endBy(signal);
      }
    });
  }
}

/**
 * Ends the process as the signal does to a program without a listener. Unlike `process.exit`, it waits for no thread. The
 * kernel spares the first process of a container from such signals, so that one aborts.
 */
export function endBy(signal: StopSignal): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  if (process.pid === 1) process.abort();
}
