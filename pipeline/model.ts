import { availableParallelism } from 'node:os';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.ts';
import { locateCheckpoint } from '../checkpoint/hub/locate.ts';
import { HandlerError } from '../protocol/errors.ts';
import type { InputLists } from '../protocol/schema.ts';
import { unlessAborted } from './abort.ts';
import { sharedByteBudget } from './images/byte-budget.ts';
import type { ClipBatch, ClipResult } from './sessions/clip-session.ts';
import { type ChosenExecutionProvider, chooseExecutionProvider, chooseForInt8 } from './sessions/execution-provider.ts';
import type { GenerationBatch, GenerationResult } from './sessions/generation-session.ts';
import type { RetrievalBatch, RetrievalResult } from './sessions/retrieval-session.ts';
import type { Settings } from './settings.ts';
import { clipTask } from './tasks/clip-task.ts';
import { generationTask } from './tasks/generation-task.ts';
import { retrievalTask } from './tasks/retrieval-task.ts';
import type { Progress, Task, TaskContext, TensorAnswer } from './tasks/task.ts';
import { openTokenizer } from './texts/tokenizer.ts';
import { startWorkerPool, type WorkerPool } from './workers/worker-pool.ts';

/** A loaded checkpoint, ready for requests of its task. */
export interface Model {
  readonly checkpoint: Checkpoint;
  readonly executionProvider: ChosenExecutionProvider;
  /** Time to be ready: threads, imports, tokenizer and model. */
  readonly loadMs: number;
  /** The model's part of it: graph written, weights mapped, session open. */
  readonly modelLoadMs: number;
  /** Whether a worker lives, so that a request would be computed now. */
  isHealthy(): boolean;
  /** Items that were accepted and are not answered yet: what `maxQueueSize` bounds. */
  queuedItems(): number;
  /** @throws HandlerError `OVERLOADED` where `infer` would, whatever it was asked: there is no room for one more item. */
  requireRoom(): void;
  /**
   * Answers one request. An item that fails leaves the others alone.
   * @param inputs checked against the schema of the checkpoint's task.
   * @param signal when it aborts, the answer is its reason, at once; what waits is dropped, what runs goes on unheard.
   * @param progress is told how far it has come.
   * @throws HandlerError `INVALID_INPUT`, `INVALID_PARAMETER`, `OVERLOADED` or `NOT_READY`, which concern all items, as
   *   `PROMPT_TOO_LONG` of retrieval, CLIP and candidates does; or that of the first item, when none has a result.
   */
  infer(
    inputs: InputLists,
    outputs: readonly string[],
    signal?: AbortSignal,
    progress?: Progress,
  ): Promise<TensorAnswer>;
  /** Finishes what was accepted, then releases the model and its threads. */
  close(): Promise<void>;
}

export interface StartOptions {
  /** Takes lines for people: that a checkpoint is fetched, and what delays it; later, that a worker ended, and why. */
  readonly onNotice?: (line: string) => void;
  /** Ends a download that is under way. */
  readonly signal?: AbortSignal;
  /** Takes, after every run of a worker, how many items it computed and in what time. */
  readonly onRun?: (itemCount: number, durationMs: number) => void;
}

/**
 * Loads the checkpoint of the settings; one of the Hub is fetched first, where the cache lacks it.
 * @throws CheckpointError or HandlerError when the checkpoint or the execution provider cannot be used.
 */
export async function startModel(settings: Settings, options: StartOptions = {}): Promise<Model> {
  const folder = await locateCheckpoint(settings.checkpoint, process.env, options);
  const startMs = performance.now();
  const checkpoint = openCheckpoint(folder, settings.imageSize);
  const choose = checkpoint.isInt8 ? chooseForInt8 : chooseExecutionProvider;
  const executionProvider = await choose(settings.executionProvider);
  const starting = startWorkerPool(
    {
      folder,
      imageSize: settings.imageSize,
      executionProvider: executionProvider.executionProvider,
      threadCount: Math.min(settings.threadsPerWorker, availableParallelism()),
    },
    settings.workerCount,
    { onNotice: (line) => options.onNotice?.(`${settings.modelName ?? checkpoint.task}: ${line}`) },
  );
  try {
    // sharp and undici take as long to import as the worker takes to load the model, so both happen at once.
    const importing = import('./images/image-source.ts');
    const tokenizer = openTokenizer(folder);
    const [{ loadImage }, pool] = await Promise.all([importing, starting]);
    const task = createTask(
      checkpoint,
      observed(pool, options.onRun),
      { tokenizer, loadImage, imageOptions: imageOptions(settings) },
      settings,
    );
    const loadMs = performance.now() - startMs;
    const { maxQueueSize } = settings;
    return { checkpoint, executionProvider, loadMs, modelLoadMs: pool.loadMs, ...admitting(task, pool, maxQueueSize) };
  } catch (error) {
    await starting.then(
      (pool) => pool.close(),
      () => undefined,
    );
    throw error;
  }
}

function imageOptions(settings: Settings): TaskContext['imageOptions'] {
  return {
    timeoutMs: settings.imageTimeoutMs,
    maxBytes: settings.imageMaxBytes,
    maxRedirects: settings.imageMaxRedirects,
    maxPixels: settings.imageMaxPixels,
    maxSide: settings.imageMaxSide,
    httpsOnly: settings.imageHttpsOnly,
    allowedHosts: settings.imageAllowedHosts,
    privateHosts: settings.imagePrivateHosts,
    applyExif: settings.imageApplyExif,
    decodedBudget: sharedByteBudget(settings.maxDecodedBytes),
  };
}

/** A pool that tells of its runs. */
function observed(pool: WorkerPool, onRun: StartOptions['onRun']): WorkerPool {
  if (onRun === undefined) return pool;
  return {
    ...pool,
    async run(batch: GenerationBatch | RetrievalBatch | ClipBatch) {
      const startMs = performance.now();
      const result = await pool.run(batch as never); // It was made for batches of this task.
      onRun(itemCountOf(batch), performance.now() - startMs);
      return result;
    },
  };
}

/** Texts that are generated, or images and texts that are encoded. */
function itemCountOf(batch: GenerationBatch | RetrievalBatch | ClipBatch): number {
  return 'rows' in batch ? batch.rows.length : batch.images.length + batch.texts.length;
}

/** The workers opened the same checkpoint, so they compute the batches of its task. */
function createTask(checkpoint: Checkpoint, pool: WorkerPool, context: TaskContext, settings: Settings): Task {
  const bounded = { ...context, maxBatchSize: settings.maxBatchSize };
  switch (checkpoint.task) {
    case 'clip':
      return clipTask(checkpoint, pool as WorkerPool<ClipBatch, ClipResult>, bounded);
    case 'retrieval':
      return retrievalTask(checkpoint, pool as WorkerPool<RetrievalBatch, RetrievalResult>, bounded);
    default:
      return generationTask(checkpoint, pool as WorkerPool<GenerationBatch, GenerationResult>, {
        ...bounded,
        batchWindowMs: settings.batchWindowMs,
      });
  }
}

/** Takes requests while there is room for their items. */
function admitting(
  task: Task,
  pool: WorkerPool,
  maxQueueSize: number,
): Pick<Model, 'infer' | 'isHealthy' | 'queuedItems' | 'requireRoom' | 'close'> {
  const accepted = new Set<Promise<TensorAnswer>>();
  let acceptedItems = 0;
  return {
    isHealthy: () => pool.liveCount() > 0,
    queuedItems: () => acceptedItems,
    requireRoom: () => requireRoom(1, acceptedItems, maxQueueSize),
    async infer(inputs, outputs, signal, progress) {
      signal?.throwIfAborted();
      const { itemCount, run } = task(inputs, outputs);
      pool.requireServing();
      requireRoom(itemCount, acceptedItems, maxQueueSize);
      acceptedItems += itemCount;
      progress?.onAccepted?.();
      const answer = run(signal, progress).finally(() => {
        accepted.delete(answer);
        acceptedItems -= itemCount; // Not before: what runs unheard still takes its place.
      });
      accepted.add(answer);
      return await unlessAborted(answer, signal);
    },
    async close() {
      await Promise.allSettled(accepted);
      await pool.close();
    },
  };
}

function requireRoom(itemCount: number, acceptedItems: number, maxQueueSize: number): void {
  if (itemCount > maxQueueSize) {
    throw new HandlerError('INVALID_INPUT', `Expected at most ${maxQueueSize} items in one request, got ${itemCount}.`);
  }
  if (acceptedItems + itemCount > maxQueueSize) {
    throw new HandlerError(
      'OVERLOADED',
      `Expected at most ${maxQueueSize} items to be waiting, got more. Try again soon.`,
    );
  }
}
