import type { CaptioningBatch, CaptioningResult } from './captioning-model.ts';
import type { WorkerSettings } from './inference-worker.ts';
import { type ModelWorker, startModelWorker } from './worker-thread.ts';

/** Worker threads that each own a session on the same, shared weights. */
export interface WorkerPool {
  /** Workers that wait for a batch. */
  idleCount(): number;
  /** The slowest worker's time to load the model. */
  readonly loadMs: number;
  /** Runs a batch on an idle worker. There must be one. */
  run(batch: CaptioningBatch): Promise<CaptioningResult>;
  /** Lets running batches finish, and ends the threads. */
  close(): Promise<void>;
}

/** @throws CheckpointError when the checkpoint cannot be served. */
export async function startWorkerPool(settings: WorkerSettings, workerCount: number): Promise<WorkerPool> {
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
      const run = runOn(worker, batch, idle);
      running.add(run);
      return await run.finally(() => running.delete(run));
    },
    async close() {
      await Promise.allSettled(running);
      await Promise.all(workers.map((worker) => worker.close()));
    },
  };
}

async function runOn(worker: ModelWorker, batch: CaptioningBatch, idle: ModelWorker[]): Promise<CaptioningResult> {
  try {
    return await worker.run(batch);
  } finally {
    idle.push(worker);
  }
}
