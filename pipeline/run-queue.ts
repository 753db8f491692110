import type { ModelBatch } from './loaded-model.ts';
import type { WorkerPool } from './worker-pool.ts';

/** Runs batches one after the other as workers become idle, in the order in which they came. */
export interface RunQueue<Batch, Result> {
  run(batch: Batch): Promise<{ readonly result: Result; readonly queueMs: number }>;
}

export function createRunQueue<Batch extends ModelBatch, Result>(
  pool: WorkerPool<Batch, Result>,
): RunQueue<Batch, Result> {
  const waiting: (() => void)[] = [];
  const dispatch = (): void => {
    while (pool.idleCount() > 0 && waiting.length > 0) waiting.shift()?.();
  };
  return {
    run: (batch) =>
      new Promise((resolve, reject) => {
        const arrivedMs = performance.now();
        waiting.push(() => {
          const queueMs = performance.now() - arrivedMs;
          pool
            .run(batch)
            .then((result) => resolve({ result, queueMs }), reject)
            .finally(dispatch);
        });
        dispatch();
      }),
  };
}
