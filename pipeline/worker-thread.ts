import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { CheckpointError, type CheckpointErrorCode } from '../checkpoint/errors.ts';
import type { WorkerAnswer, WorkerRequest, WorkerSettings } from './inference-worker.ts';
import type { ModelBatch } from './loaded-model.ts';

/** A worker thread with a loaded model. */
export interface ModelWorker {
  readonly loadMs: number;
  /** Computes a batch; one at a time. Rejects when the model fails, or the thread dies. */
  run(batch: ModelBatch): Promise<unknown>;
  /** Releases the model and waits for the thread to end. Not while a batch runs. */
  close(): Promise<void>;
}

/** In a bundle the worker lies beside this file; from the sources it is TypeScript, which Node 20 reads through tsx. */
function startThread(settings: WorkerSettings): Worker {
  if (!import.meta.url.endsWith('.ts'))
    return new Worker(new URL('./inference-worker.js', import.meta.url), { workerData: settings, execArgv: [] });
  const entry = JSON.stringify(new URL('./inference-worker.ts', import.meta.url).href);
  const loader = `import('tsx/esm/api').then(({ register }) => { register(); return import(${entry}); })`;
  return new Worker(loader, { eval: true, workerData: settings, execArgv: [] });
}

/**
 * Starts a worker thread and loads the model in it.
 * @throws CheckpointError when the checkpoint cannot be served.
 */
export async function startModelWorker(settings: WorkerSettings): Promise<ModelWorker> {
  const thread = startThread(settings);
  let lastError: unknown;
  thread.on('error', (error) => {
    lastError = error;
  });
  const ended = new Promise<void>((resolve) => {
    thread.once('exit', () => resolve());
  });
  const nextAnswer = async (): Promise<WorkerAnswer> => {
    const answered = new AbortController();
    try {
      const answer = once(thread, 'message', { signal: answered.signal }).then(([message]) => message as WorkerAnswer);
      answer.catch(() => undefined); // Aborted below when the thread ends first.
      const death = ended.then(() =>
        Promise.reject(new Error('The worker thread ended before it answered.', { cause: lastError })),
      );
      return await Promise.race([answer, death]);
    } finally {
      answered.abort();
    }
  };
  const post = (request: WorkerRequest) => thread.postMessage(request, transferList(request));

  const first = await nextAnswer();
  if (!('ready' in first)) throw toError(first);
  return {
    loadMs: first.loadMs,
    async run(batch) {
      post({ batch });
      const answer = await nextAnswer();
      if ('result' in answer) return answer.result;
      throw toError(answer);
    },
    async close() {
      post('close');
      await ended;
    },
  };
}

/** Pixels move to the worker without being copied, where they own their memory alone. */
function transferList(request: WorkerRequest): ArrayBuffer[] {
  if (request === 'close') return [];
  const buffers = request.batch.images
    .filter(({ data }) => data.byteLength === data.buffer.byteLength)
    .map(({ data }) => data.buffer)
    .filter((buffer) => buffer instanceof ArrayBuffer);
  return [...new Set(buffers)];
}

function toError(answer: WorkerAnswer): Error {
  if (!('failure' in answer)) return new Error('Expected a result from the worker thread, got another message.');
  const { name, message, code } = answer.failure;
  if (code !== undefined) return new CheckpointError(code as CheckpointErrorCode, message); // It was one in the thread.
  return new Error(`${name}: ${message}`);
}
