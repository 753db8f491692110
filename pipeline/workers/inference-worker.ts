import { parentPort, workerData } from 'node:worker_threads';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { loadSession } from '../sessions/load-session.ts';
import type { ImageBatch, LoadOptions } from '../sessions/loaded-session.ts';

/** The entry of a worker thread: it owns one model, and computes one batch at a time. */

export interface WorkerSettings extends LoadOptions {
  readonly folder: string;
}

/** To the worker: a batch, or `close` to release the model and end the thread. */
export type WorkerRequest = { readonly batch: ImageBatch } | 'close';

/** From the worker: `ready` once, then one answer for each batch. */
export type WorkerAnswer =
  | { readonly ready: true; readonly loadMs: number }
  | { readonly result: unknown }
  | { readonly failure: { readonly name: string; readonly message: string; readonly code?: string } };

function answer(message: WorkerAnswer): void {
  parentPort?.postMessage(message);
}

function describeFailure(error: unknown): WorkerAnswer {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return { failure: error instanceof CheckpointError ? { name, message, code: error.code } : { name, message } };
}

async function serve(settings: WorkerSettings): Promise<void> {
  const startMs = performance.now();
  const model = await loadSession(settings.folder, settings);
  parentPort?.on('message', async (request: WorkerRequest) => {
    if (request === 'close') {
      await model.release();
      // Closing the port lets the thread end by itself; terminating it during a run would abort the process.
      parentPort?.close();
      return;
    }
    // Whoever posts batches opened the same checkpoint, and posts those of its task.
    answer(await model.run(request.batch as never).then((result) => ({ result }), describeFailure));
  });
  answer({ ready: true, loadMs: performance.now() - startMs });
}

await serve(workerData).catch((error: unknown) => answer(describeFailure(error)));
