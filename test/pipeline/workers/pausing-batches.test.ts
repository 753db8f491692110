import { describe, expect, onTestFinished, test } from 'vitest';
import type { GenerationBatch } from '../../../pipeline/sessions/generation-batch.ts';
import type { BatchOwners } from '../../../pipeline/workers/batch-runner.ts';
import type { WorkerSettings } from '../../../pipeline/workers/inference-worker.ts';
import { startWorkerPool } from '../../../pipeline/workers/worker-pool.ts';
import { startInferenceWorker } from '../../../pipeline/workers/worker-thread.ts';
import { greyBatch, smallWorkerSettings } from '../../support/worker-batches.ts';
import { breakThread, watchThreads } from '../../support/worker-threads.ts';

/** Batches of several runs, on real threads. Every row is a run of its own. */
const settings: WorkerSettings<'captioning'> = { ...smallWorkerSettings, maxRunTokens: 1 };

/** A batch of so many rows about one image. */
function rowsBatch(rowCount: number, newTokens = 3): GenerationBatch {
  const { images, rows, settings: shared } = greyBatch();
  const [row] = rows;
  if (row === undefined) throw new Error('Expected a row.');
  const lengths = { maxNewTokens: newTokens, minNewTokens: newTokens };
  return {
    images,
    rows: Array.from({ length: rowCount }, (_, seed) => ({ ...row, ...lengths, seed })),
    settings: shared,
  };
}

const wanted = (...clients: readonly (string | undefined)[]): BatchOwners => ({ clients, isWanted: () => true });

async function startPool(workerCount: number, changed: Partial<WorkerSettings<'captioning'>> = {}) {
  const notices: string[] = [];
  const pool = await startWorkerPool({ ...settings, ...changed }, workerCount, {
    onNotice: (line) => void notices.push(line),
    pausesMs: [0],
  });
  onTestFinished(() => pool.close());
  return { pool, notices };
}

describe('a batch of several runs', () => {
  test('is answered as in one run', async () => {
    const { pool } = await startPool(1);
    const { pool: whole } = await startPool(1, { maxRunTokens: 1_000 });
    const [parts, one] = await Promise.all([
      pool.run('generation', rowsBatch(5)),
      whole.run('generation', rowsBatch(5)),
    ]);
    expect(parts.results).toEqual(one.results);
  });

  test('lets a batch of another client come between', async () => {
    const { pool } = await startPool(1);
    const ended: string[] = [];
    let isOtherSubmitted = false;
    pool.onRoom(() => {
      if (isOtherSubmitted || !pool.hasRoomFor('other')) return;
      isOtherSubmitted = true;
      void pool.run('generation', rowsBatch(1), wanted('other')).then(() => ended.push('other'));
    });
    await pool.run('generation', rowsBatch(8), wanted('long')).then(() => ended.push('long'));
    expect(ended).toEqual(['other', 'long']);
  });

  test('keeps its worker from other batches of its own client', async () => {
    const { pool } = await startPool(1);
    const couldStart: boolean[] = [];
    pool.onRoom(() => couldStart.push(pool.hasRoomFor('long')));
    await pool.run('generation', rowsBatch(4), wanted('long', 'second'));
    expect(couldStart).toEqual([false, false, false, true]);
  });

  test('shares a worker fairly with another one of several runs', async () => {
    const { pool } = await startPool(1);
    const runs: string[] = [];
    const owners = (client: string): BatchOwners => ({
      clients: [client],
      isWanted() {
        if (runs.at(-1) !== client) runs.push(client);
        return true;
      },
    });
    let second: Promise<unknown> = Promise.resolve();
    let isStarted = false;
    pool.onRoom(() => {
      if (isStarted) return;
      isStarted = true;
      second = pool.run('generation', rowsBatch(6), owners('b'));
    });
    await pool.run('generation', rowsBatch(6), owners('a'));
    await second;
    expect(runs.length).toBeGreaterThan(8); // They alternate.
  });

  test('is dropped after the run in which its last client left', async () => {
    const { pool } = await startPool(1);
    let asked = 0;
    const owners: BatchOwners = {
      clients: ['a'],
      isWanted() {
        asked += 1;
        return asked < 4;
      },
    };
    await expect(pool.run('generation', rowsBatch(200), owners)).rejects.toMatchObject({ name: 'BatchDropped' });
    expect(asked).toBeLessThan(10);
    expect((await pool.run('generation', rowsBatch(2))).results).toHaveLength(2);
  });

  test('is computed once more when its worker ends while it pauses', async () => {
    const threads = watchThreads();
    const { pool } = await startPool(1);
    let pauses = 0;
    pool.onRoom(() => {
      pauses += 1;
      if (pauses === 2) breakThread(threads[0]);
    });
    expect((await pool.run('generation', rowsBatch(4))).results).toHaveLength(4);
    expect(threads).toHaveLength(2);
  });
});

/** Threads that get no batch of seven tokens, as if a run of it hung. */
async function startHanging(limitMs: number) {
  const threads = watchThreads((thread) => {
    const post = thread.postMessage.bind(thread);
    thread.postMessage = (request: unknown) => {
      if (!JSON.stringify(request)?.includes('"maxNewTokens":7')) post(request);
    };
  });
  const { pool, notices } = await startPool(1, { runLimitMs: limitMs });
  return { pool, notices, threads };
}

describe('a worker that hangs', () => {
  test('is given up at its limit: its batch fails, another worker takes its place, and readiness tells', async () => {
    const { pool, notices, threads } = await startHanging(4_000);
    const run = pool.run('generation', rowsBatch(1, 7));
    const failing = expect(run).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.stringContaining('in time'),
    });
    expect(pool.isServing()).toBe(true);
    await expect.poll(() => pool.isServing(), { timeout: 4_000 }).toBe(false);
    await failing;
    await expect.poll(() => pool.isServing(), { timeout: 20_000 }).toBe(true);
    expect((await pool.run('generation', rowsBatch(1))).results).toHaveLength(1);
    expect(notices).toEqual([expect.stringMatching(/4000 ms without progress, and is given up/)]);
    expect(threads).toHaveLength(2);
  });

  test('ends by itself, should it come back', async () => {
    const { threads, pool } = await startHanging(500);
    await expect(pool.run('generation', rowsBatch(1, 7))).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect.poll(() => threads[0]?.threadId, { timeout: 20_000 }).toBe(-1);
  });

  test('does not count what comes in many short runs', async () => {
    const { pool } = await startPool(1, { runLimitMs: 2_000 });
    const endMs = performance.now() + 2_500;
    const owners: BatchOwners = { clients: ['a'], isWanted: () => performance.now() < endMs };
    await expect(pool.run('generation', rowsBatch(5_000), owners)).rejects.toMatchObject({ name: 'BatchDropped' });
    expect(pool.isServing()).toBe(true);
  });
});

test('a worker says when it has no answer in time', async () => {
  const threads = watchThreads((thread) => {
    const post = thread.postMessage.bind(thread);
    thread.postMessage = (request: unknown) => (request === 'close' ? post(request) : undefined);
  });
  const worker = await startInferenceWorker({ ...settings, runLimitMs: 200 });
  await expect(worker.run('generation', rowsBatch(1), async () => true)).rejects.toMatchObject({
    name: 'WorkerHungError',
  });
  expect(await worker.ended).toMatchObject({ name: 'WorkerHungError' });
  await worker.gone;
  expect(threads[0]?.threadId).toBe(-1);
});
