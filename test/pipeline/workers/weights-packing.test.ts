import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import type { WorkerSettings } from '../../../pipeline/workers/inference-worker.ts';
import { type PoolOptions, startWorkerPool } from '../../../pipeline/workers/worker-pool.ts';
import { startInferenceWorker } from '../../../pipeline/workers/worker-thread.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { greyBatch, smallWorkerSettings } from '../../support/worker-batches.ts';

async function int8Settings(): Promise<WorkerSettings<'captioning'>> {
  const folder = join(temporaryFolder(), 'int8');
  await quantizeCheckpoint(checkpointFolder('narrow-vision'), folder);
  return { ...smallWorkerSettings, folder, weights: 'packed-when-idle' };
}

/** A pool whose notices are kept, and the times at which its workers began to pack. */
async function startPool(workerCount: number, options: Partial<PoolOptions>, isFailing = false) {
  const notices: string[] = [];
  let packing = 0;
  let packingAtOnce = 0;
  const start: PoolOptions['start'] = async (settings) => {
    const worker = await startInferenceWorker(settings);
    const pack = async () => {
      packing += 1;
      packingAtOnce = Math.max(packingAtOnce, packing);
      if (isFailing) throw new Error('Expected memory, got none.');
      return await worker.pack().finally(() => {
        packing -= 1;
      });
    };
    return { ...worker, pack };
  };
  const onNotice = (line: string) => void notices.push(line);
  const pool = await startWorkerPool(await int8Settings(), workerCount, { start, onNotice, ...options });
  return { pool, notices, packingAtOnce: () => packingAtOnce };
}

const packed = expect.stringMatching(/^A worker packed its weights in \d+ ms\.$/);
const never = 1_000_000;

describe('workers that pack their weights', () => {
  test('do so one after the other when nothing runs, and answer as before', async () => {
    const { pool, notices, packingAtOnce } = await startPool(2, { packingTimes: { quietMs: 100, patienceMs: never } });
    const { results: before } = await pool.run('generation', greyBatch());
    expect(notices).toEqual([]);
    await vi.waitFor(() => expect(notices).toEqual([packed, packed]), { timeout: 5_000 });
    expect(packingAtOnce()).toBe(1);
    const after = await Promise.all([pool.run('generation', greyBatch()), pool.run('generation', greyBatch())]);
    for (const { results } of after) expect(results).toEqual(before);
    await pool.close();
  });

  test('do so under load, between two batches, when their patience ends', async () => {
    const { pool, notices } = await startPool(1, { packingTimes: { quietMs: 100, patienceMs: 200 } });
    let isOver = false;
    const load = async () => {
      while (!isOver) {
        if (pool.hasRoom()) await pool.run('generation', greyBatch());
        else await new Promise<void>((resolve) => setTimeout(resolve, 1));
      }
    };
    const loading = load();
    await vi.waitFor(() => expect(notices).toEqual([packed]), { timeout: 5_000 });
    isOver = true;
    await loading;
    await pool.close();
  });

  test('compute with mapped weights where they cannot', async () => {
    const { pool, notices } = await startPool(1, { packingTimes: { quietMs: 10, patienceMs: never } }, true);
    const told = 'A worker could not pack its weights, and computes with mapped ones: Expected memory, got none.';
    await vi.waitFor(() => expect(notices).toEqual([told]), { timeout: 5_000 });
    expect((await pool.run('generation', greyBatch())).results).toHaveLength(1);
    await pool.close();
  });

  test('do not begin when the pool closes', async () => {
    const { pool, notices } = await startPool(1, { packingTimes: { quietMs: never, patienceMs: never } });
    await pool.close();
    expect(notices).toEqual([]);
  });

  test('end what they began before the pool closes', async () => {
    const { pool, notices, packingAtOnce } = await startPool(1, { packingTimes: { quietMs: 0, patienceMs: never } });
    await vi.waitFor(() => expect(packingAtOnce()).toBe(1), { timeout: 5_000, interval: 1 });
    await pool.close();
    expect(notices).toEqual([packed]);
  });
});
