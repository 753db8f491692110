import { describe, expect, test } from 'vitest';
import type { WorkerSettings } from '../../../pipeline/workers/inference-worker.ts';
import { startWorkerPool } from '../../../pipeline/workers/worker-pool.ts';
import { type InferenceWorker, WorkerEndedError } from '../../../pipeline/workers/worker-thread.ts';
import { greyBatch as batch, smallWorkerSettings as settings } from '../../support/worker-batches.ts';

describe('the worker pool', () => {
  test('computes as many batches at a time as it has workers, and all the same', async () => {
    const pool = await startWorkerPool(settings, 2);
    expect(pool.liveCount()).toBe(2);
    expect(pool.executionProvider).toEqual({
      executionProvider: 'cpu',
      precision: 'float32',
      reason: 'cpu was asked for',
    });
    const runs = [pool.run('generation', batch())];
    expect(pool.hasRoom()).toBe(true);
    runs.push(pool.run('generation', batch()));
    expect(pool.hasRoom()).toBe(false);
    const [first, second] = await Promise.all(runs);
    expect(first?.results[0]?.[0]?.tokenIds).toHaveLength(4);
    expect(second?.results).toEqual(first?.results);
    expect(pool.hasRoom()).toBe(true);
    await pool.close();
  });

  test('goes on after a batch that the model refuses', async () => {
    const pool = await startWorkerPool(settings, 1);
    const { results: wanted } = await pool.run('generation', batch());
    const unknownToken = {
      ...batch(),
      rows: [{ image: 0, inputIds: [99_999], maxNewTokens: 3, minNewTokens: 3, seed: 0 }],
    };
    await expect(pool.run('generation', unknownToken)).rejects.toThrow();
    expect((await pool.run('generation', batch())).results).toEqual(wanted);
    await pool.close();
  });

  test('does not start on a CPU in a precision that only CUDA has', async () => {
    await expect(startWorkerPool({ ...settings, precision: 'float16' }, 1)).rejects.toMatchObject({
      name: 'HandlerError',
      code: 'PRECISION_UNAVAILABLE',
    });
  });

  test('finishes what runs before it closes', async () => {
    const pool = await startWorkerPool(settings, 1);
    const run = pool.run('generation', batch());
    await pool.close();
    expect((await run).results).toHaveLength(1);
  });

  test('says what is wrong with a checkpoint, as the error it is', async () => {
    const starting = startWorkerPool({ ...settings, folder: '/nowhere' }, 2);
    await expect(starting).rejects.toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_NOT_FOUND' });
  });

  test('refuses a checkpoint that is for another task than the main thread found', async () => {
    const starting = startWorkerPool({ ...settings, task: 'clip' }, 1);
    await expect(starting).rejects.toMatchObject({
      code: 'CHECKPOINT_CONFIG_INVALID',
      message: expect.stringContaining('expected a checkpoint for clip'),
    });
  });

  test('refuses a batch of a kind that its task has not', async () => {
    const anyTask: WorkerSettings = settings;
    const pool = await startWorkerPool(anyTask, 1);
    const nothing = { images: [], texts: [], itemsPerRun: 1 };
    await expect(pool.run('clip', nothing)).rejects.toThrow('Expected a batch of kind generation, got clip.');
    await pool.close();
  });
});

function withResolvers() {
  let resolve: (ended: WorkerEndedError) => void = () => undefined;
  const promise = new Promise<WorkerEndedError>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** A worker that lives until it is closed, and computes nothing. */
function idleWorker(executionProvider: 'cpu' | 'cuda', closed: string[]): InferenceWorker {
  const { promise: ended, resolve } = withResolvers();
  return {
    loadMs: 1,
    executionProvider: { executionProvider, precision: 'float32', reason: `${executionProvider} was chosen` },
    ended,
    gone: ended,
    isOverdue: () => false,
    run: () => Promise.reject(new Error('Expected no batch.')),
    pack: async () => 0,
    async close() {
      closed.push(executionProvider);
      resolve(new WorkerEndedError('closed'));
    },
  };
}

describe('workers that choose for themselves', () => {
  test('must agree: the pool does not start where one of them cannot have the GPU', async () => {
    const closed: string[] = [];
    const chosen = ['cuda', 'cpu'] as const;
    let started = 0;
    const start = async () => idleWorker(chosen[started++] ?? 'cpu', closed);
    const starting = startWorkerPool({ ...settings, executionProvider: 'auto' }, 2, { start });
    await expect(starting).rejects.toMatchObject({
      code: 'EXECUTION_PROVIDER_UNAVAILABLE',
      message: expect.stringContaining('got cuda and cpu (cuda was chosen; cpu was chosen)'),
    });
    expect(closed.sort()).toEqual(['cpu', 'cuda']);
  });

  test('are replaced by one that is told where to compute', async () => {
    const requested: string[] = [];
    const workers: InferenceWorker[] = [];
    const start = async ({ executionProvider }: Pick<WorkerSettings, 'executionProvider'>) => {
      requested.push(executionProvider);
      const worker = idleWorker('cuda', []);
      workers.push(worker);
      return worker;
    };
    const pool = await startWorkerPool({ ...settings, executionProvider: 'auto' }, 1, { start, pausesMs: [0] });
    await workers[0]?.close(); // It ends without being told to by the pool.
    await expect.poll(() => requested).toEqual(['auto', 'cuda']);
    await pool.close();
  });

  test('go to the devices in turn, and are replaced on their own device', async () => {
    const requested: unknown[] = [];
    const workers: InferenceWorker[] = [];
    const start = async ({ deviceId, precision }: WorkerSettings) => {
      requested.push([deviceId, precision]);
      const worker = idleWorker('cuda', []);
      workers.push(worker);
      return worker;
    };
    const options = { start, pausesMs: [0], deviceIds: [2, 5] };
    const pool = await startWorkerPool({ ...settings, executionProvider: 'auto' }, 4, options);
    await workers[1]?.close();
    const devices = [2, 5, 2, 5].map((deviceId) => [deviceId, 'auto']);
    await expect.poll(() => requested).toEqual([...devices, [5, 'float32']]);
    await pool.close();
  });
});
