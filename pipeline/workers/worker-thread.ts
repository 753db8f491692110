import { Worker } from 'node:worker_threads';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { ChosenExecutionProvider } from '../sessions/execution-provider-choices.ts';
import { BatchDropped } from '../sessions/pause.ts';
import { setRuntimeVariables } from '../sessions/runtime-variables.ts';
import type { BatchOf, ResultOf, WorkKind, WorkResult } from '../sessions/work.ts';
import type {
  PackedAnswer,
  PausedAnswer,
  ReadyAnswer,
  WorkerAnswer,
  WorkerFailure,
  WorkerRequest,
  WorkerSettings,
} from './inference-worker.ts';
import { Watchdog } from './watchdog.ts';

/** Two minutes: a run is bounded to a small part of that, on any machine that is of use (sessions/run-bounds.ts). */
const DEFAULT_RUN_LIMIT_MS = 120_000;

/** A worker thread has ended. `cause` is the error that ended it, where the thread reported one. */
export class WorkerEndedError extends Error {
  override readonly name: string = 'WorkerEndedError';
}

/** A worker thread has computed one run for so long that it is given up. It may go on, and nobody waits for it. */
export class WorkerHungError extends WorkerEndedError {
  override readonly name = 'WorkerHungError';
}

/** A worker thread with a loaded session. */
export interface InferenceWorker {
  readonly loadMs: number;
  readonly executionProvider: ChosenExecutionProvider;
  /** Resolves when the thread has ended, whether or not it was told to, or is given up. */
  readonly ended: Promise<WorkerEndedError>;
  /** Resolves when the thread has ended. One that was given up ends when its run does, if that ever happens. */
  readonly gone: Promise<unknown>;
  /** Whether its run takes so long that nobody should count on it: half of the limit, or more. */
  isOverdue(): boolean;
  /**
   * Computes one batch at a time, except while a batch pauses. The batch is copied into the thread, so another thread can
   * compute it again.
   * @param pause called between two runs of the batch. Until it resolves, the worker may compute other batches; then it
   *   says whether the batch goes on.
   * @throws WorkerEndedError when the thread ends before it answers; WorkerHungError when it does not; BatchDropped when
   *   the batch did not go on; another Error when the session fails.
   */
  run<Kind extends WorkKind>(kind: Kind, batch: BatchOf<Kind>, pause: () => Promise<boolean>): Promise<ResultOf<Kind>>;
  /**
   * Packs the weights. Not while a batch runs.
   * @returns the time that it took.
   * @throws Error of the runtime, after which the worker computes as before; WorkerEndedError as `run` does.
   */
  pack(): Promise<number>;
  /** Releases the session and waits for the thread to end. Not while a batch runs. */
  close(): Promise<void>;
}

/** A thread that has started and has no settings yet. */
let started: MessageThread | undefined;

/**
 * Starts a thread ahead of time: it loads its code while the process finds out what to compute. The next worker takes it.
 * It keeps the process alive until `dismissEarlyThread`, because a process that ends while it loads the runtime aborts.
 */
export function startThreadEarly(): void {
  started ??= new MessageThread(startThread());
}

/** Ends the thread that started early, where no worker took it. Waits until it has loaded its code and ended. */
export async function dismissEarlyThread(): Promise<void> {
  const thread = takeStarted();
  thread?.send('close');
  await thread?.gone;
}

function takeStarted(): MessageThread | undefined {
  const thread = started;
  started = undefined;
  return thread;
}

/**
 * Starts a worker thread and loads the session in it.
 * @throws CheckpointError when the checkpoint cannot be served, HandlerError when the execution provider does not work,
 *   WorkerEndedError when the thread ends before it is ready.
 */
export async function startInferenceWorker(settings: WorkerSettings): Promise<InferenceWorker> {
  const thread = takeStarted() ?? new MessageThread(startThread());
  thread.send(settings);
  const watchdog = new Watchdog(settings.runLimitMs ?? DEFAULT_RUN_LIMIT_MS, (limitMs) => thread.giveUp(limitMs));
  const { loadMs, executionProvider, precision, reason } = await thread.receive(isReady).catch(rethrowAtStart);
  let lastId = 0;
  return {
    loadMs,
    executionProvider: { executionProvider, precision, reason },
    ended: thread.ended,
    gone: thread.gone,
    isOverdue: () => watchdog.isOverdue(),
    async run<Kind extends WorkKind>(kind: Kind, batch: BatchOf<Kind>, pause: () => Promise<boolean>) {
      lastId += 1;
      const id = lastId;
      const receive = () => watchdog.watch(thread.receive((answer) => isPaused(answer) || isResultOf(kind, answer)));
      thread.send({ kind, batch, id });
      let answer = await receive();
      while (isPaused(answer)) {
        thread.send({ resumed: id, isWanted: await pause() });
        answer = await receive();
      }
      return answer.result;
    },
    async pack() {
      const packed = watchdog.watch(thread.receive(isPacked));
      thread.send('pack');
      return (await packed).packMs;
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
function startThread(): Worker {
  setRuntimeVariables();
  if (!import.meta.url.endsWith('.ts'))
    return new Worker(new URL('./inference-worker.js', import.meta.url), { execArgv: [] });
  const entry = JSON.stringify(new URL('./inference-worker.ts', import.meta.url).href);
  const loader = `import('tsx/esm/api').then(({ register }) => { register(); return import(${entry}); })`;
  return new Worker(loader, { eval: true, execArgv: [] });
}

interface Receiver {
  readonly resolve: (answer: WorkerAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/** A thread that answers one message at a time. */
class MessageThread {
  /** Resolves when the thread has ended, or is given up. */
  readonly ended: Promise<WorkerEndedError>;
  readonly gone: Promise<WorkerEndedError>;
  readonly #thread: Worker;
  #giveUp: (reason: WorkerHungError) => void = () => undefined;
  #receiver: Receiver | undefined;
  #end: WorkerEndedError | undefined;

  constructor(thread: Worker) {
    this.#thread = thread;
    thread.on('message', (answer: WorkerAnswer) => this.#receiver?.resolve(answer));
    thread.on('messageerror', (error) => this.#receiver?.reject(error));
    this.gone = endOf(thread);
    const givenUp = new Promise<WorkerHungError>((resolve) => {
      this.#giveUp = resolve;
    });
    this.ended = Promise.race([this.gone, givenUp]);
    void this.ended.then((end) => {
      this.#end = end;
      this.#receiver?.reject(end);
    });
  }

  send(request: WorkerSettings | WorkerRequest): void {
    this.#thread.postMessage(request);
  }

  /** Waits for the thread no longer. It closes by itself, if its run ever ends: terminating it would abort the process. */
  giveUp(limitMs: number): void {
    this.#giveUp(new WorkerHungError(`A worker thread computed for ${limitMs} ms without progress, and is given up.`));
    this.send('close');
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

function isPacked(answer: WorkerAnswer): answer is PackedAnswer {
  return 'packMs' in answer;
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
