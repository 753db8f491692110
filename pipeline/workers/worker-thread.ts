import { Worker } from 'node:worker_threads';
import { CheckpointError, type CheckpointErrorCode } from '../../checkpoint/errors.ts';
import type { ImageBatch } from '../sessions/loaded-session.ts';
import type { WorkerAnswer, WorkerRequest, WorkerSettings } from './inference-worker.ts';

/** A worker thread is no more. What it ended of is the cause, where it said so. */
export class WorkerEndedError extends Error {
  override readonly name = 'WorkerEndedError';
}

/** A worker thread with a loaded model. */
export interface InferenceWorker {
  readonly loadMs: number;
  /** Resolves when the thread has ended, whether or not it was told to. */
  readonly ended: Promise<WorkerEndedError>;
  /**
   * Computes a batch; one at a time. The batch is copied into the thread, so that it can be given to another.
   * @throws WorkerEndedError when the thread ends before it answers; another Error when the model fails.
   */
  run(batch: ImageBatch): Promise<unknown>;
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
 * @throws CheckpointError when the checkpoint cannot be served, WorkerEndedError when the thread ends before it is ready.
 */
export async function startInferenceWorker(settings: WorkerSettings): Promise<InferenceWorker> {
  const thread = startThread(settings);
  const { nextAnswer, ended } = listenTo(thread);
  const post = (request: WorkerRequest) => thread.postMessage(request);
  const first = await nextAnswer();
  if (!('ready' in first)) throw toError(first);
  return {
    loadMs: first.loadMs,
    ended,
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

interface Listening {
  /** What the thread says next; one at a time. Rejects with a WorkerEndedError when it ends before that. */
  nextAnswer(): Promise<WorkerAnswer>;
  readonly ended: Promise<WorkerEndedError>;
}

interface Waiting {
  readonly resolve: (answer: WorkerAnswer) => void;
  readonly reject: (error: unknown) => void;
}

function listenTo(thread: Worker): Listening {
  let waiting: Waiting | undefined;
  let ending: WorkerEndedError | undefined;
  let lastError: unknown;
  thread.on('message', (answer: WorkerAnswer) => waiting?.resolve(answer));
  thread.on('messageerror', (error) => waiting?.reject(error));
  // Without a listener an error in the thread would be one of this process.
  thread.on('error', (error) => {
    lastError = error;
  });
  const ended = new Promise<WorkerEndedError>((resolve) => {
    thread.once('exit', (exitCode) => {
      const options = lastError === undefined ? {} : { cause: lastError };
      ending = new WorkerEndedError(`The worker thread ended with exit code ${exitCode}.`, options);
      waiting?.reject(ending);
      resolve(ending);
    });
  });
  return {
    nextAnswer: () =>
      new Promise((resolve, reject) => {
        if (ending === undefined) waiting = { resolve, reject };
        else reject(ending);
      }),
    ended,
  };
}

function toError(answer: WorkerAnswer): Error {
  if (!('failure' in answer)) return new Error('Expected a result from the worker thread, got another message.');
  const { name, message, code } = answer.failure;
  if (code !== undefined) return new CheckpointError(code as CheckpointErrorCode, message); // It was one in the thread.
  return new Error(`${name}: ${message}`);
}
