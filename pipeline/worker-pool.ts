import type { WorkerSettings } from './inference-worker.ts';
import type { ModelBatch } from './loaded-model.ts';
import { type ModelWorker, startModelWorker } from './worker-thread.ts';

/** Worker threads that each own a session on the same, shared weights. */
export interface WorkerPool<Batch extends ModelBatch = never, Result = unknown> {
  /** Workers that wait for a batch. */
  idleCount(): number;
  /** The slowest worker's time to load the model. */
  readonly loadMs: number;
  /** Runs a batch on an idle worker. There must be one. */
  run(batch: Batch): Promise<Result>;
  /** Lets running batches finish, and ends the threads. */
  close(): Promise<void>;
}

/**
 * @returns a pool that computes batches of the task of the checkpoint in `settings.folder`; the caller says which.
 * @throws CheckpointError when the checkpoint cannot be served.
 */
export async function startWorkerPool<Batch extends ModelBatch, Result>(
  settings: WorkerSettings,
  workerCount: number,
): Promise<WorkerPool<Batch, Result>> {
  const starts = await Promise.allSettled(Array.from({ length: workerCount }, () => startModelWorker(settings)));
  const workers = starts.filter((start) => start.status === 'fulfilled').map((start) => start.value);
  const failed = starts.find((start) => start.status === 'rejected');
  if (failed !== undefined) {
    await Promise.all(workers.map((worker) => worker.close()));
    throw failed.reason;
  }
  const idle = [...workers];
  const running = new Set<Promise<unknown>>();
  return {
    idleCount: () => idle.length,
    loadMs: Math.max(...workers.map((worker) => worker.loadMs)),
    async run(batch) {
      const worker = idle.pop();
      if (worker === undefined) throw new Error('Expected an idle worker, got none.');
      const run = runOn(worker, batch, idle) as Promise<Result>; // What that task's model returns.
      running.add(run);
      return await run.finally(() => running.delete(run));
    },
    async close() {
      await Promise.allSettled(running);
      await Promise.all(workers.map((worker) => worker.close()));
    },
  };
}

async function runOn(worker: ModelWorker, batch: ModelBatch, idle: ModelWorker[]): Promise<unknown> {
  try {
    return await worker.run(batch);
  } finally {
    idle.push(worker);
  }
}
