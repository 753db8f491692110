import { releaseImages } from '../images/byte-budget.ts';
import type { ImageBatch } from '../sessions/loaded-session.ts';
import type { WorkerPool } from './worker-pool.ts';

/** Runs batches one after the other as workers become idle, in the order in which they came. */
export interface RunQueue<Batch, Result> {
  /**
   * Runs a batch, and gives back the memory of its images when that is done.
   * @param onComputing is called when a worker takes it.
   * @throws the reason of the signal, when it aborts before the batch runs.
   */
  run(
    batch: Batch,
    signal?: AbortSignal,
    onComputing?: () => void,
  ): Promise<{ readonly result: Result; readonly queueMs: number }>;
}

export function createRunQueue<Batch extends ImageBatch, Result>(
  pool: WorkerPool<Batch, Result>,
): RunQueue<Batch, Result> {
  const waiting: (() => void)[] = [];
  const dispatch = (): void => {
    while (pool.hasRoom() && waiting.length > 0) waiting.shift()?.();
  };
  pool.onRoom(dispatch);
  return {
    run: (batch, signal, onComputing) =>
      new Promise((resolve, reject) => {
        const arrivedMs = performance.now();
        const start = () => {
          signal?.removeEventListener('abort', withdraw); // It would keep the pixels as long as the signal lives.
          const queueMs = performance.now() - arrivedMs;
          onComputing?.();
          pool
            .run(batch)
            .finally(() => releaseImages(batch.images))
            .then((result) => resolve({ result, queueMs }), reject);
        };
        const withdraw = () => {
          waiting.splice(waiting.indexOf(start), 1);
          releaseImages(batch.images);
          reject(signal?.reason);
        };
        waiting.push(start);
        if (signal?.aborted) return withdraw();
        signal?.addEventListener('abort', withdraw, { once: true });
        dispatch();
      }),
  };
}
