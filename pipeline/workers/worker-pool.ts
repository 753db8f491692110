import type { Task } from '../../checkpoint/config/architectures.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { ChosenExecutionProvider } from '../sessions/execution-provider-choices.ts';
import type { ImageCacheUse } from '../sessions/image-cache.ts';
import type { BatchOf, KindsOf, ResultOf, WorkKind } from '../sessions/work.ts';
import type { BatchOwners, BatchRunner } from './batch-runner.ts';
import { HungThreads } from './hung-threads.ts';
import type { WorkerSettings } from './inference-worker.ts';
import { itemCountOf } from './item-count.ts';
import { type PackingTimes, usualPackingTimes, WeightsPacking } from './weights-packing.ts';
import { keepAlive, type Replacement } from './worker-replacement.ts';
import { WorkerRoster } from './worker-roster.ts';
import { type InferenceWorker, startInferenceWorker, WorkerEndedError, WorkerHungError } from './worker-thread.ts';

/**
 * Called after every batch that was computed, with the number of its items and the time that it took.
 * @param imageCache how the cache served its images, where there is one.
 */
export type BatchDone = (itemCount: number, durationMs: number, imageCache?: ImageCacheUse) => void;

/** How a pool goes on after a worker has ended: docs/decisions/0011-workers-that-die.md. */
export interface RecoveryOptions extends Pick<Replacement, 'onNotice' | 'pausesMs' | 'stableMs'> {
  /** How long batches wait while no worker lives. */
  readonly outageLimitMs: number;
}

export interface PoolOptions extends RecoveryOptions {
  readonly batchDone: BatchDone;
  readonly start: typeof startInferenceWorker;
  /** CUDA devices, to which the workers go in turn; none for the first device, or for other providers. */
  readonly deviceIds: readonly number[];
  readonly packingTimes: PackingTimes;
}

const defaultOptions: PoolOptions = {
  batchDone: () => undefined,
  start: startInferenceWorker,
  deviceIds: [],
  packingTimes: usualPackingTimes,
  onNotice: () => undefined,
  pausesMs: [0, 1_000, 5_000, 30_000],
  stableMs: 60_000,
  outageLimitMs: 10_000,
};

/**
 * Starts worker threads that compute batches of the task in `settings`.
 * @throws CheckpointError when the checkpoint cannot be served, HandlerError when the execution provider does not work,
 *   or not in every worker.
 */
export async function startWorkerPool<Name extends Task>(
  settings: WorkerSettings<Name>,
  workerCount: number,
  options: Partial<PoolOptions> = {},
): Promise<WorkerPool<KindsOf<Name>>> {
  const poolOptions = { ...defaultOptions, ...options };
  const workers = await startAll(
    (index) => poolOptions.start(settingsOfWorker(index, settings, poolOptions)),
    workerCount,
  );
  return new WorkerPool(workers, settings, poolOptions);
}

/** The settings of the worker with this number: its device, where there are devices. */
function settingsOfWorker(index: number, settings: WorkerSettings, { deviceIds }: PoolOptions): WorkerSettings {
  return { ...settings, deviceId: deviceIds[index % Math.max(1, deviceIds.length)] };
}

const unownedBatch: BatchOwners = { clients: [undefined], isWanted: () => true };

/** Worker threads with one session each, on shared weights. A worker that ends is replaced. */
export class WorkerPool<Kinds extends WorkKind> {
  /** The slowest worker's time to load the session. */
  readonly loadMs: number;
  /** All workers chose it, each for itself. */
  readonly executionProvider: ChosenExecutionProvider;
  readonly #roster: WorkerRoster;
  readonly #packing: WeightsPacking;
  readonly #batchDone: PoolOptions['batchDone'];
  readonly #lives: readonly Promise<void>[];
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  /** Bytes that the cache of each living worker keeps. */
  readonly #cacheBytes = new Map<InferenceWorker, number>();

  constructor(
    workers: readonly [InferenceWorker, ...InferenceWorker[]],
    settings: WorkerSettings,
    options: PoolOptions,
  ) {
    const { batchDone, start, deviceIds: _deviceIds, packingTimes, outageLimitMs, ...recovery } = options;
    const roster = new WorkerRoster(outageLimitMs);
    const hung = new HungThreads(workers.length, recovery.onNotice, this.#stopping.signal);
    const packing = new WeightsPacking(roster, packingTimes, recovery.onNotice);
    this.#roster = roster;
    this.#packing = packing;
    this.#batchDone = batchDone;
    this.loadMs = Math.max(...workers.map(({ loadMs }) => loadMs));
    this.executionProvider = workers[0].executionProvider;
    // A new worker computes where the others do, or does not start: a GPU that has gone must not go unnoticed.
    const { executionProvider, precision } = this.executionProvider;
    const replacement = (index: number): Replacement => ({
      ...recovery,
      start: async () => {
        await hung.room();
        this.#stopping.signal.throwIfAborted();
        return await start({ ...settingsOfWorker(index, settings, options), executionProvider, precision });
      },
      onAlive(worker) {
        roster.join(worker);
        if (executionProvider === 'cpu' && settings.weights === 'packed-when-idle') packing.add(worker);
      },
      onEnded: (worker, reason) => {
        roster.leave(worker);
        this.#cacheBytes.delete(worker);
        if (reason instanceof WorkerHungError) hung.add(worker.gone);
      },
      signal: this.#stopping.signal,
    });
    this.#lives = workers.map((worker, index) => keepAlive(worker, replacement(index)));
  }

  liveCount(): number {
    return this.#roster.liveCount();
  }

  /** Whether a worker lives that is not overdue with a run. */
  isServing(): boolean {
    return this.#roster.isServing();
  }

  hasRoom(): boolean {
    return this.#roster.hasRoom();
  }

  hasRoomFor(client: string | undefined): boolean {
    return this.#roster.hasRoomFor(client);
  }

  onRoom(listener: () => void): void {
    this.#roster.onRoom(listener);
  }

  /** @throws HandlerError `NOT_READY` when no worker has been alive for so long that batches are refused. */
  requireServing(): void {
    this.#roster.requireServing();
  }

  /** The pool as what computes batches of one kind. */
  runner<Kind extends Kinds>(kind: Kind): BatchRunner<BatchOf<Kind>, ResultOf<Kind>> {
    return {
      hasRoom: () => this.hasRoom(),
      idleCount: () => this.#roster.idleCount(),
      hasRoomFor: (client) => this.hasRoomFor(client),
      onRoom: (listener) => this.onRoom(listener),
      run: (batch, owners) => this.run(kind, batch, owners),
    };
  }

  /**
   * Runs a batch on an idle worker; there must be room. When its worker ends, the batch is run once more, on another.
   * @throws HandlerError `NOT_READY` when no worker lives. BatchDropped when nobody wanted the result any more. Error when
   *   the batch ended two workers, or the session fails.
   */
  async run<Kind extends Kinds>(
    kind: Kind,
    batch: BatchOf<Kind>,
    owners: BatchOwners = unownedBatch,
  ): Promise<ResultOf<Kind>> {
    const startMs = performance.now();
    let pausedMs = 0;
    const pause = async (worker: InferenceWorker) => {
      const pauseMs = performance.now();
      if (owners.isWanted()) await this.#roster.pause(worker, owners.clients);
      pausedMs += performance.now() - pauseMs;
      return owners.isWanted();
    };
    const runOn = async (worker: InferenceWorker) => {
      const result = await worker.run(kind, batch, () => pause(worker));
      if (result.imageCache !== undefined) this.#cacheBytes.set(worker, result.imageCache.bytes);
      return result;
    };
    const run = this.#packing.observe(this.#runTwice(runOn, owners));
    this.#running.add(run);
    const result = await run.finally(() => this.#running.delete(run));
    this.#batchDone(itemCountOf(kind, batch), performance.now() - startMs - pausedMs, this.#allWorkers(result));
    return result;
  }

  /** Lets running batches finish, and ends the threads. */
  async close(): Promise<void> {
    await this.#packing.stop();
    await Promise.allSettled(this.#running);
    this.#roster.close();
    this.#stopping.abort();
    await Promise.all(this.#lives);
  }

  #allWorkers({ imageCache }: { readonly imageCache?: ImageCacheUse | undefined }): ImageCacheUse | undefined {
    const bytes = [...this.#cacheBytes.values()].reduce((sum, ofWorker) => sum + ofWorker, 0);
    return imageCache && { ...imageCache, bytes };
  }

  /** A worker may have ended because of this batch or by chance, so the batch is tried once more, on another worker. */
  async #runTwice<Result>(
    run: (worker: InferenceWorker) => Promise<Result>,
    { clients, isWanted }: BatchOwners,
  ): Promise<Result> {
    try {
      return await this.#runOn(this.#roster.take(clients), run);
    } catch (thrown) {
      if (thrown instanceof WorkerHungError) throw tookTooLong(thrown);
      if (!(thrown instanceof WorkerEndedError) || !isWanted()) throw thrown;
    }
    try {
      return await this.#runOn(await this.#roster.takeNext(), run);
    } catch (cause) {
      if (cause instanceof WorkerHungError) throw tookTooLong(cause);
      if (!(cause instanceof WorkerEndedError)) throw cause;
      throw new Error('Expected a worker thread to outlive a batch, got two that ended while they computed it.', {
        cause,
      });
    }
  }

  async #runOn<Result>(worker: InferenceWorker, run: (worker: InferenceWorker) => Promise<Result>): Promise<Result> {
    let hasEnded = false;
    try {
      return await run(worker);
    } catch (thrown) {
      hasEnded = thrown instanceof WorkerEndedError;
      throw thrown;
    } finally {
      if (!hasEnded) this.#roster.giveBack(worker);
    }
  }
}

/** Such a batch is not tried again: it would take another worker. */
function tookTooLong(cause: WorkerHungError): HandlerError {
  return new HandlerError('INTERNAL', 'Expected a batch to be computed in time, got no answer of its worker.', {
    cause,
  });
}

async function startAll(
  start: (index: number) => Promise<InferenceWorker>,
  workerCount: number,
): Promise<readonly [InferenceWorker, ...InferenceWorker[]]> {
  const starts = await Promise.allSettled(Array.from({ length: workerCount }, (_, index) => start(index)));
  const [first, ...others] = starts.filter((each) => each.status === 'fulfilled').map((each) => each.value);
  const failed = starts.find((each) => each.status === 'rejected');
  const disagreement = findDisagreement([first, ...others].filter((worker) => worker !== undefined));
  if (failed === undefined && disagreement === undefined && first !== undefined) return [first, ...others];
  await Promise.all([first, ...others].map((worker) => worker?.close()));
  throw failed?.reason ?? disagreement ?? new RangeError(`Expected at least one worker thread, got ${workerCount}.`);
}

/** Each worker tries `auto` for itself. One that cannot have the GPU, say for want of memory, must not go unnoticed. */
function findDisagreement(workers: readonly InferenceWorker[]): HandlerError | undefined {
  const chosen = workers.map(({ executionProvider }) => executionProvider);
  const names = [...new Set(chosen.map(({ executionProvider }) => executionProvider))];
  if (names.length < 2) return undefined;
  const reasons = [...new Set(chosen.map(({ reason }) => reason))].join('; ');
  return new HandlerError(
    'EXECUTION_PROVIDER_UNAVAILABLE',
    `Expected all workers to choose one execution provider, got ${names.join(' and ')} (${reasons}). ` +
      'Set BLIP_EXECUTION_PROVIDER, or fewer BLIP_WORKERS.',
  );
}
