import { describe, expect, test } from 'vitest';
import type { WorkerSettings } from '../../../pipeline/workers/inference-worker.ts';
import { startWorkerPool } from '../../../pipeline/workers/worker-pool.ts';
import { greyBatch as batch, smallWorkerSettings as settings } from '../../support/worker-batches.ts';

describe('the worker pool', () => {
  test('computes as many batches at a time as it has workers, and all the same', async () => {
    const pool = await startWorkerPool(settings, 2);
    expect(pool.liveCount()).toBe(2);
    expect(pool.executionProvider).toEqual({ executionProvider: 'cpu', reason: 'cpu was asked for' });
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
