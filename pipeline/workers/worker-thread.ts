import { Worker } from 'node:worker_threads';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { ChosenExecutionProvider } from '../sessions/execution-provider-choices.ts';
import { BatchDropped } from '../sessions/pause.ts';
import { disableTelemetry } from '../sessions/telemetry.ts';
import type { BatchOf, ResultOf, WorkKind, WorkResult } from '../sessions/work.ts';
import type {
  PausedAnswer,
  ReadyAnswer,
  WorkerAnswer,
  WorkerFailure,
  WorkerRequest,
  WorkerSettings,
} from './inference-worker.ts';

/** A worker thread has ended. `cause` is the error that ended it, where the thread reported one. */
export class WorkerEndedError extends Error {
  override readonly name = 'WorkerEndedError';
}

/** A worker thread with a loaded session. */
export interface InferenceWorker {
  readonly loadMs: number;
  readonly executionProvider: ChosenExecutionProvider;
  /** Resolves when the thread has ended, whether or not it was told to. */
  readonly ended: Promise<WorkerEndedError>;
  /**
   * Computes one batch at a time, except while a batch pauses. The batch is copied into the thread, so another thread can
   * compute it again.
   * @param pause called between two runs of the batch. Until it resolves, the worker may compute other batches; then it
   *   says whether the batch goes on.
   * @throws WorkerEndedError when the thread ends before it answers; BatchDropped when the batch did not go on; another
   *   Error when the session fails.
   */
  run<Kind extends WorkKind>(kind: Kind, batch: BatchOf<Kind>, pause: () => Promise<boolean>): Promise<ResultOf<Kind>>;
  /** Releases the session and waits for the thread to end. Not while a batch runs. */
  close(): Promise<void>;
}

/**
 * Starts a worker thread and loads the session in it.
 * @throws CheckpointError when the checkpoint cannot be served, HandlerError when the execution provider does not work,
 *   WorkerEndedError when the thread ends before it is ready.
 */
export async function startInferenceWorker(settings: WorkerSettings): Promise<InferenceWorker> {
  const thread = new MessageThread(startThread(settings));
  const { loadMs, executionProvider, reason } = await thread.receive(isReady).catch(rethrowAtStart);
  let lastId = 0;
  return {
    loadMs,
    executionProvider: { executionProvider, reason },
    ended: thread.ended,
    async run<Kind extends WorkKind>(kind: Kind, batch: BatchOf<Kind>, pause: () => Promise<boolean>) {
      lastId += 1;
      const id = lastId;
      const receive = () => thread.receive((answer) => isPaused(answer) || isResultOf(kind, answer));
      thread.send({ kind, batch, id });
      let answer = await receive();
      while (isPaused(answer)) {
        thread.send({ resumed: id, isWanted: await pause() });
        answer = await receive();
      }
      return answer.result;
    },
    async close() {
      thread.send('close');
      await thread.ended;
    },
  };
}

/** Names the cause: where onnxruntime is missing, or does not load, this message is all that a user sees of it. */
function rethrowAtStart(thrown: unknown): never {
  if (!(thrown instanceof WorkerEndedError && thrown.cause instanceof Error)) throw thrown;
  throw new WorkerEndedError(`Expected the worker thread to start, but it ended: ${thrown.cause.message}`);
}

/** A bundle has the worker beside this file. The sources have it in TypeScript, which Node 20 reads through tsx. */
function startThread(settings: WorkerSettings): Worker {
  disableTelemetry();
  if (!import.meta.url.endsWith('.ts'))
    return new Worker(new URL('./inference-worker.js', import.meta.url), { workerData: settings, execArgv: [] });
  const entry = JSON.stringify(new URL('./inference-worker.ts', import.meta.url).href);
  const loader = `import('tsx/esm/api').then(({ register }) => { register(); return import(${entry}); })`;
  return new Worker(loader, { eval: true, workerData: settings, execArgv: [] });
}

interface Receiver {
  readonly resolve: (answer: WorkerAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/** A thread that answers one message at a time. */
class MessageThread {
  readonly ended: Promise<WorkerEndedError>;
  readonly #thread: Worker;
  #receiver: Receiver | undefined;
  #end: WorkerEndedError | undefined;

  constructor(thread: Worker) {
    this.#thread = thread;
    thread.on('message', (answer: WorkerAnswer) => this.#receiver?.resolve(answer));
    thread.on('messageerror', (error) => this.#receiver?.reject(error));
    this.ended = endOf(thread);
    void this.ended.then((end) => {
      this.#end = end;
      this.#receiver?.reject(end);
    });
  }

  send(request: WorkerRequest): void {
    this.#thread.postMessage(request);
  }

  /**
   * The next answer of the thread.
   * @throws WorkerEndedError when the thread ends first; the error that the thread reports.
   */
  async receive<Answer extends WorkerAnswer>(isExpected: (answer: WorkerAnswer) => answer is Answer): Promise<Answer> {
    const answer = await new Promise<WorkerAnswer>((resolve, reject) => {
      if (this.#end === undefined) this.#receiver = { resolve, reject };
      else reject(this.#end);
    });
    if (isExpected(answer)) return answer;
    throw 'failure' in answer ? toError(answer.failure) : new Error('Expected another message from the worker thread.');
  }
}

function endOf(thread: Worker): Promise<WorkerEndedError> {
  let cause: unknown;
  // Without a listener, an error in the thread would become one of this process.
  thread.on('error', (error) => {
    cause = error;
  });
  return new Promise((resolve) => {
    thread.once('exit', (exitCode) => {
      const options = cause === undefined ? {} : { cause };
      resolve(new WorkerEndedError(`The worker thread ended with exit code ${exitCode}.`, options));
    });
  });
}

function isReady(answer: WorkerAnswer): answer is ReadyAnswer {
  return 'ready' in answer;
}

function isPaused(answer: WorkerAnswer): answer is PausedAnswer {
  return 'paused' in answer;
}

function isResultOf<Kind extends WorkKind>(kind: Kind, answer: WorkerAnswer): answer is WorkResult<Kind> {
  return 'result' in answer && answer.kind === kind;
}

function toError(failure: WorkerFailure): Error {
  if (failure.kind === 'checkpoint') return new CheckpointError(failure.code, failure.message);
  if (failure.kind === 'dropped') return new BatchDropped('Nobody wanted the result of the batch any more.');
  if (failure.kind === 'handler') return new HandlerError(failure.code, failure.message);
  return new Error(failure.message);
}
