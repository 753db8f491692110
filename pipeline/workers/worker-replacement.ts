import { setTimeout as sleep } from 'node:timers/promises';
import type { InferenceWorker } from './worker-thread.ts';

/** How a worker that ends is replaced: docs/decisions/0011-workers-that-die.md. */
export interface Replacement {
  start(): Promise<InferenceWorker>;
  onAlive(worker: InferenceWorker): void;
  onEnded(worker: InferenceWorker, reason: Error): void;
  /** Takes a line for people: why a worker ended, and when a new one starts. */
  onNotice(line: string): void;
  /** Pauses before the first, the second, … start in a row. All later starts have the last pause. */
  readonly pausesMs: readonly number[];
  /** After a worker that lived for so long, the pauses begin anew. */
  readonly stableMs: number;
  /** When it aborts, the worker is closed and not replaced. Not while a batch runs. */
  readonly signal: AbortSignal;
}

/** Keeps a worker alive: whenever it ends, a new one starts. Resolves after the signal aborted and the worker ended. */
export async function keepAlive(first: InferenceWorker, replacement: Replacement): Promise<void> {
  const { pausesMs, stableMs } = replacement;
  let worker: InferenceWorker | undefined = first;
  let pauses = pausesMs.values();
  while (worker !== undefined) {
    const sinceMs = performance.now();
    const ended = await live(worker, replacement);
    if (performance.now() - sinceMs >= stableMs) pauses = pausesMs.values();
    worker = await startAgain(ended, () => pauses.next().value ?? pausesMs.at(-1) ?? 0, replacement);
  }
}

/** Waits for the end of a worker, and returns the error that ended it. */
async function live(worker: InferenceWorker, { onAlive, onEnded, signal }: Replacement): Promise<Error> {
  const close = () => void worker.close();
  signal.addEventListener('abort', close);
  if (signal.aborted) close(); // It aborted while the worker started.
  onAlive(worker);
  const ended = await worker.ended;
  onEnded(worker, ended);
  signal.removeEventListener('abort', close);
  return ended;
}

/** Starts a worker in place of one that ended, however often that fails; `undefined` once the signal aborts. */
async function startAgain(
  ended: Error,
  nextPauseMs: () => number,
  { start, onNotice, signal }: Replacement,
): Promise<InferenceWorker | undefined> {
  let reason: unknown = ended;
  while (!signal.aborted) {
    const pauseMs = nextPauseMs();
    onNotice(`${describe(reason)} A new worker thread is started ${pauseMs === 0 ? 'at once' : `in ${pauseMs} ms`}.`);
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined); // It rejects when the signal aborts.
    if (signal.aborted) break;
    try {
      const worker = await start();
      if (!signal.aborted) return worker;
      await worker.close(); // The signal aborted while the worker was loading.
    } catch (thrown) {
      reason = thrown;
    }
  }
  return undefined;
}

function describe(reason: unknown): string {
  if (!(reason instanceof Error)) return String(reason);
  return reason.cause === undefined ? reason.message : `${reason.message} ${describe(reason.cause)}`;
}
