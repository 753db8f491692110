import { describe, expect, test } from 'vitest';
import type { GenerationBatch, GenerationResult } from '../../pipeline/generation-model.ts';
import { startWorkerPool } from '../../pipeline/worker-pool.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { greedySettings } from '../support/greedy-settings.ts';

const settings = { folder: checkpointFolder('narrow-vision'), executionProvider: 'cpu', threadCount: 1 } as const;

/** A grey image of the model's own size, and a caption of 3 tokens. */
function batch(pixelBytes = 32 * 32 * 3): GenerationBatch {
  return {
    images: [{ width: 32, height: 32, data: new Uint8Array(pixelBytes).fill(128) }],
    rows: [{ image: 0, inputIds: [182], maxNewTokens: 3, minNewTokens: 3, seed: 0 }],
    settings: greedySettings,
  };
}

describe('the worker pool', () => {
  test('computes as many batches at a time as it has workers, and all the same', async () => {
    const pool = await startWorkerPool<GenerationBatch, GenerationResult>(settings, 2);
    expect(pool.idleCount()).toBe(2);
    const runs = [pool.run(batch()), pool.run(batch())];
    expect(pool.idleCount()).toBe(0);
    const [first, second] = await Promise.all(runs);
    expect(first?.sequences[0]?.[0]?.tokenIds).toHaveLength(4);
    expect(second?.sequences).toEqual(first?.sequences);
    expect(pool.idleCount()).toBe(2);
    await pool.close();
  });

  test('goes on after a batch that the model refuses', async () => {
    const pool = await startWorkerPool<GenerationBatch, GenerationResult>(settings, 1);
    const { sequences: wanted } = await pool.run(batch());
    const unknownToken = {
      ...batch(),
      rows: [{ image: 0, inputIds: [99_999], maxNewTokens: 3, minNewTokens: 3, seed: 0 }],
    };
    await expect(pool.run(unknownToken)).rejects.toThrow();
    expect((await pool.run(batch())).sequences).toEqual(wanted);
    await pool.close();
  });

  test('finishes what runs before it closes', async () => {
    const pool = await startWorkerPool<GenerationBatch, GenerationResult>(settings, 1);
    const run = pool.run(batch());
    await pool.close();
    expect((await run).sequences).toHaveLength(1);
  });

  test('says what is wrong with a checkpoint, as the error it is', async () => {
    const starting = startWorkerPool({ ...settings, folder: '/nowhere' }, 2);
    await expect(starting).rejects.toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_NOT_FOUND' });
  });
});
