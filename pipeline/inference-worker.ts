import { parentPort, workerData } from 'node:worker_threads';
import { CheckpointError } from '../checkpoint/errors.ts';
import { type CaptioningBatch, type CaptioningResult, loadCaptioningModel } from './captioning-model.ts';
import type { ExecutionProvider } from './runtime.ts';

/** The entry of a worker thread: it owns one model, and computes one batch at a time. */

export interface WorkerSettings {
  readonly folder: string;
  readonly executionProvider: ExecutionProvider;
  readonly threadCount: number;
}

/** To the worker: a batch, or `close` to release the model and end the thread. */
export type WorkerRequest = { readonly batch: CaptioningBatch } | 'close';

/** From the worker: `ready` once, then one answer for each batch. */
export type WorkerAnswer =
  | { readonly ready: true; readonly loadMs: number }
  | { readonly result: CaptioningResult }
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
  const model = await loadCaptioningModel(settings.folder, settings);
  parentPort?.on('message', async (request: WorkerRequest) => {
    if (request === 'close') {
      await model.release();
      // Closing the port lets the thread end by itself; terminating it during a run would abort the process.
      parentPort?.close();
      return;
    }
    answer(await model.run(request.batch).then((result) => ({ result }), describeFailure));
  });
  answer({ ready: true, loadMs: performance.now() - startMs });
}

await serve(workerData).catch((error: unknown) => answer(describeFailure(error)));
