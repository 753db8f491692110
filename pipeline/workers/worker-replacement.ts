import { setTimeout as sleep } from 'node:timers/promises';
import type { InferenceWorker } from './worker-thread.ts';

/** How a worker that ends is replaced: docs/decisions/0011-workers-that-die.md. */
export interface Replacement {
  start(): Promise<InferenceWorker>;
  onAlive(worker: InferenceWorker): void;
  onEnded(worker: InferenceWorker): void;
  /** Takes a line for people: what ended, and when there will be another. */
  onNotice(line: string): void;
  /** Pauses before the first, the second, … start in a row. The last is that of all that follow. */
  readonly pausesMs: readonly number[];
  /** A worker that lived for so long is followed by the first pause again. */
  readonly stableMs: number;
  /** Ends it: the worker is closed, and not replaced. Not while a batch runs. */
  readonly signal: AbortSignal;
}

/** Keeps a worker alive: whenever it ends, a new one takes its place. Resolves when that was told to end, and none is left. */
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

/** One worker's life, from its start to its end, with what ended it. */
async function live(worker: InferenceWorker, { onAlive, onEnded, signal }: Replacement): Promise<Error> {
  const close = () => void worker.close();
  signal.addEventListener('abort', close);
  if (signal.aborted) close(); // Since it was started.
  onAlive(worker);
  const ended = await worker.ended;
  onEnded(worker);
  signal.removeEventListener('abort', close);
  return ended;
}

/** Starts a worker in place of one that ended, however often that fails; `undefined` once it is told to stop. */
async function startAgain(
  ended: Error,
  nextPauseMs: () => number,
  { start, onNotice, signal }: Replacement,
): Promise<InferenceWorker | undefined> {
  let reason: unknown = ended;
  while (!signal.aborted) {
    const pauseMs = nextPauseMs();
    onNotice(`${describe(reason)} A new worker thread is started ${pauseMs === 0 ? 'at once' : `in ${pauseMs} ms`}.`);
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined); // It rejects when it is told to stop.
    if (signal.aborted) break;
    try {
      const worker = await start();
      if (!signal.aborted) return worker;
      await worker.close(); // Told to stop while it was loading.
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
