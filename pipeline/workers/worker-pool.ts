import type { ImageBatch } from '../sessions/loaded-session.ts';
import type { WorkerSettings } from './inference-worker.ts';
import { keepAlive, type Replacement } from './worker-replacement.ts';
import { createWorkerRoster, type WorkerRoster } from './worker-roster.ts';
import { type InferenceWorker, startInferenceWorker, WorkerEndedError } from './worker-thread.ts';

/** Worker threads that each own a session on the same, shared weights. One that ends is replaced. */
export interface WorkerPool<Batch extends ImageBatch = never, Result = unknown>
  extends Pick<WorkerRoster, 'liveCount' | 'hasRoom' | 'onRoom' | 'requireServing'> {
  /** The slowest worker's time to load the model. */
  readonly loadMs: number;
  /**
   * Runs a batch on an idle worker; there must be room. A batch whose worker ends is run once more, on another.
   * @throws HandlerError `NOT_READY` when no worker lives. Error when the batch ended two workers, or the model fails.
   */
  run(batch: Batch): Promise<Result>;
  /** Lets running batches finish, and ends the threads. */
  close(): Promise<void>;
}

/** How a pool goes on after a worker has ended: docs/decisions/0011-workers-that-die.md. */
export interface RecoveryOptions extends Pick<Replacement, 'onNotice' | 'pausesMs' | 'stableMs'> {
  /** How long batches wait while no worker lives. */
  readonly outageLimitMs: number;
}

const usualRecovery: RecoveryOptions = {
  onNotice: () => undefined,
  pausesMs: [0, 1_000, 5_000, 30_000],
  stableMs: 60_000,
  outageLimitMs: 10_000,
};

/**
 * @returns a pool that computes batches of the task of the checkpoint in `settings.folder`; the caller says which.
 * @throws CheckpointError when the checkpoint cannot be served.
 */
export async function startWorkerPool<Batch extends ImageBatch, Result>(
  settings: WorkerSettings,
  workerCount: number,
  options: Partial<RecoveryOptions> = {},
): Promise<WorkerPool<Batch, Result>> {
  const { outageLimitMs, ...recovery } = { ...usualRecovery, ...options };
  const start = () => startInferenceWorker(settings);
  const workers = await startAll(start, workerCount);
  const roster = createWorkerRoster(outageLimitMs);
  const stopping = new AbortController();
  const replacement = { ...recovery, start, onAlive: roster.join, onEnded: roster.leave, signal: stopping.signal };
  const lives = workers.map((worker) => keepAlive(worker, replacement));
  const running = new Set<Promise<unknown>>();
  return {
    liveCount: roster.liveCount,
    hasRoom: roster.hasRoom,
    onRoom: roster.onRoom,
    requireServing: roster.requireServing,
    loadMs: Math.max(...workers.map((worker) => worker.loadMs)),
    async run(batch) {
      const run = runTwice(batch, roster) as Promise<Result>; // What that task's model returns.
      running.add(run);
      return await run.finally(() => running.delete(run));
    },
    async close() {
      await Promise.allSettled(running);
      roster.close();
      stopping.abort();
      await Promise.all(lives);
    },
  };
}

async function startAll(
  start: () => Promise<InferenceWorker>,
  workerCount: number,
): Promise<readonly InferenceWorker[]> {
  const starts = await Promise.allSettled(Array.from({ length: workerCount }, start));
  const workers = starts.filter((each) => each.status === 'fulfilled').map((each) => each.value);
  const failed = starts.find((each) => each.status === 'rejected');
  if (failed === undefined) return workers;
  await Promise.all(workers.map((worker) => worker.close()));
  throw failed.reason;
}

/** Whose fault it is that a worker ended, nobody knows: the batch has a second worker, and no third. */
async function runTwice(batch: ImageBatch, roster: WorkerRoster): Promise<unknown> {
  try {
    return await runOn(roster.take(), batch, roster);
  } catch (thrown) {
    if (!(thrown instanceof WorkerEndedError)) throw thrown;
  }
  try {
    return await runOn(await roster.takeNext(), batch, roster);
  } catch (cause) {
    if (!(cause instanceof WorkerEndedError)) throw cause;
    throw new Error('Expected a worker thread to outlive a batch, got two that ended while they computed it.', {
      cause,
    });
  }
}

async function runOn(worker: InferenceWorker, batch: ImageBatch, roster: WorkerRoster): Promise<unknown> {
  let hasEnded = false;
  try {
    return await worker.run(batch);
  } catch (thrown) {
    hasEnded = thrown instanceof WorkerEndedError;
    throw thrown;
  } finally {
    if (!hasEnded) roster.giveBack(worker);
  }
}
