import { cpSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { startModel } from '../../../pipeline/model.ts';
import { cachedImageBytes } from '../../../pipeline/sessions/image-cache-size.ts';
import type { BatchOf } from '../../../pipeline/sessions/work.ts';
import { RunQueue } from '../../../pipeline/workers/run-queue.ts';
import { type RecoveryOptions, startWorkerPool, type WorkerPool } from '../../../pipeline/workers/worker-pool.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { testSettings } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectHandlerError } from '../../support/thrown.ts';
import { greyBatch, smallWorkerSettings } from '../../support/worker-batches.ts';
import { breakThread, livingThreads, watchDeadlyThreads, watchThreads } from '../../support/worker-threads.ts';

/** Real threads that really end. */

type Pool = WorkerPool<'generation'>;

/** A pool that is closed when the test ends, and what it says. */
async function startPool(workerCount: number, options: Partial<RecoveryOptions> = {}, settings = smallWorkerSettings) {
  const notices: string[] = [];
  const onNotice = (line: string) => void notices.push(line);
  const pool: Pool = await startWorkerPool(settings, workerCount, { onNotice, pausesMs: [0], ...options });
  onTestFinished(() => pool.close());
  return { pool, notices };
}

const livesAgain = (pool: Pool, count = 1) => expect.poll(() => pool.liveCount(), { timeout: 20_000 }).toBe(count);
/** A marker that the batches of these tests carry in their pixels. */
const DEADLY = 13;
const isDeadly = ({ batch }: { readonly batch: unknown }) =>
  (batch as BatchOf<'generation'>).images[0]?.data[0] === DEADLY; // These tests post no other batches.

test('a worker that ends between batches is replaced, and the reason is told', async () => {
  const threads = watchThreads();
  const { pool, notices } = await startPool(1);
  const { results: wanted } = await pool.run('generation', greyBatch());
  breakThread(threads[0]);
  await expect.poll(() => pool.liveCount()).toBe(0);
  expect(pool.hasRoom()).toBe(false);
  await livesAgain(pool);
  expect((await pool.run('generation', greyBatch())).results).toEqual(wanted);
  expect(notices).toEqual([
    expect.stringMatching(
      /^The worker thread ended with exit code 1\. .*undefined.* A new worker thread is started at once\.$/,
    ),
  ]);
  expect(livingThreads(threads)).toHaveLength(1);
});

test('the bytes of encoded images that a worker kept are counted no longer once it has ended', async () => {
  const threads = watchThreads();
  const bytes: (number | undefined)[] = [];
  const pool: Pool = await startWorkerPool({ ...smallWorkerSettings, imageCacheBytes: 1_000_000 }, 2, {
    pausesMs: [0],
    batchDone: (_, __, use) => void bytes.push(use?.bytes),
  });
  onTestFinished(() => pool.close());
  const run = (grey: number) => pool.run('generation', greyBatch(grey));
  await Promise.all([run(10), run(20)]);
  const imageBytes = (bytes.at(-1) ?? 0) / 2;
  expect(imageBytes).toBe(cachedImageBytes(openCheckpoint(smallWorkerSettings.folder)));
  breakThread(threads[0]);
  await expect.poll(() => pool.liveCount()).toBe(1);
  await livesAgain(pool, 2);
  await run(30);
  expect(bytes.at(-1)).toBe(2 * imageBytes);
});

test('a model tells it with its name, and is healthy when it has a worker', async () => {
  const threads = watchThreads();
  const notices: string[] = [];
  const model = await startModel(testSettings(), { onNotice: (line) => void notices.push(line) });
  onTestFinished(() => model.close());
  expect(model.isHealthy()).toBe(true);
  breakThread(threads[0]);
  await expect.poll(model.isHealthy).toBe(false);
  expect(notices).toEqual([expect.stringMatching(/^captioning: The worker thread ended/)]);
  await expect.poll(model.isHealthy, { timeout: 20_000 }).toBe(true);
});

test('a worker that is ended from outside is replaced', async () => {
  const threads = watchThreads();
  const { pool, notices } = await startPool(1);
  await threads[0]?.terminate(); // It is idle: no run is aborted.
  await livesAgain(pool);
  expect((await pool.run('generation', greyBatch())).results).toHaveLength(1);
  expect(notices).toHaveLength(1);
});

/** Threads that the next `count` deadly batches break. */
function breakAtDeadlyBatches(count: number) {
  let remaining = count;
  return watchDeadlyThreads((request) => {
    if (!isDeadly(request) || remaining === 0) return false;
    remaining -= 1;
    return true;
  });
}

describe('a batch whose worker ends', () => {
  test('is computed by another worker that is idle', async () => {
    breakAtDeadlyBatches(1);
    const { pool } = await startPool(2, { pausesMs: [60_000] });
    const { results } = await pool.run('generation', greyBatch(DEADLY));
    expect(pool.liveCount()).toBe(1);
    expect((await pool.run('generation', greyBatch(DEADLY))).results).toEqual(results);
  });

  test('waits for a new worker where there is no other, and goes before batches that wait', async () => {
    breakAtDeadlyBatches(1);
    const { pool } = await startPool(1);
    const queue = new RunQueue(pool.runner('generation'));
    const order: string[] = [];
    await Promise.all([
      queue.run(greyBatch(DEADLY)).then(() => order.push('first')),
      queue.run(greyBatch()).then(() => order.push('second')),
    ]);
    expect(order).toEqual(['first', 'second']);
  });

  test('and which ends the other too, fails with the reason; then the pool goes on', async () => {
    breakAtDeadlyBatches(2);
    const { pool, notices } = await startPool(1);
    const failure = await pool.run('generation', greyBatch(DEADLY)).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message: expect.stringContaining('two that ended'),
      cause: { name: 'WorkerEndedError', cause: { name: 'TypeError' } },
    });
    expect(notices).toHaveLength(2);
    await livesAgain(pool);
    expect((await pool.run('generation', greyBatch())).results).toHaveLength(1);
  });

  test('keeps no other worker from its work', async () => {
    breakAtDeadlyBatches(1);
    const { pool } = await startPool(2, { pausesMs: [60_000] });
    const queue = new RunQueue(pool.runner('generation'));
    const greys = [1, 2, DEADLY, 4, 5];
    const answers = await Promise.all(greys.map((grey) => queue.run(greyBatch(grey))));
    expect(answers.map(({ result }) => result.results.length)).toEqual([1, 1, 1, 1, 1]);
    expect(pool.liveCount()).toBe(1);
  });
});

test('many ends in a row fail the batches that they are of, and no others; no thread is left over', async () => {
  const threads = breakAtDeadlyBatches(8);
  const { pool } = await startPool(2);
  const queue = new RunQueue(pool.runner('generation'));
  const greys = [DEADLY, 1, DEADLY, 2, DEADLY, 3, DEADLY, 4];
  const outcomes = await Promise.allSettled(greys.map((grey) => queue.run(greyBatch(grey))));
  expect(outcomes.map(({ status }) => status === 'rejected')).toEqual(greys.map((grey) => grey === DEADLY));
  await livesAgain(pool, 2);
  await expect.poll(() => livingThreads(threads).length).toBe(2);
});

describe('new workers that do not start', () => {
  /** A pool whose checkpoint can be taken away. */
  async function startRemovable(options: Partial<RecoveryOptions>) {
    const threads = watchThreads();
    const folder = join(temporaryFolder(), 'checkpoint');
    cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
    const started = await startPool(1, options, { ...smallWorkerSettings, folder });
    const takeAway = () => renameSync(folder, `${folder}-away`);
    const bringBack = () => renameSync(`${folder}-away`, folder);
    return { ...started, threads, takeAway, bringBack };
  }

  test('are tried after longer and longer pauses, until one does', async () => {
    const pausesMs = [0, 10, 20, 30];
    const { pool, notices, threads, takeAway, bringBack } = await startRemovable({ pausesMs });
    takeAway();
    breakThread(threads[0]);
    await expect.poll(() => notices.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(6);
    expect(pool.liveCount()).toBe(0);
    bringBack();
    await livesAgain(pool);
    const pauses = notices.map((line) => /(at once|in \d+ ms)\.$/.exec(line)?.[1]);
    expect(pauses.slice(0, 6)).toEqual(['at once', 'in 10 ms', 'in 20 ms', 'in 30 ms', 'in 30 ms', 'in 30 ms']);
    expect(notices[1]).toContain('expected a checkpoint folder, got no such folder.');
    expect(livingThreads(threads)).toHaveLength(1);
  });

  test('make batches wait for so long and no longer; once there is a worker, they are taken again', async () => {
    const recovery = { pausesMs: [0, 500], outageLimitMs: 300 };
    const { pool, threads, takeAway, bringBack } = await startRemovable(recovery);
    const queue = new RunQueue(pool.runner('generation'));
    takeAway();
    breakThread(threads[0]);
    await expect.poll(() => pool.liveCount()).toBe(0);
    pool.requireServing();
    const [first, second] = [queue.run(greyBatch()), queue.run(greyBatch())];
    second.catch(() => undefined); // Both are refused at the same time.
    await expectHandlerError(first, 'NOT_READY');
    await expectHandlerError(second, 'NOT_READY');
    await expectHandlerError(queue.run(greyBatch()), 'NOT_READY');
    expect(() => pool.requireServing()).toThrow('Expected a worker thread to be alive');
    bringBack();
    await livesAgain(pool);
    expect((await queue.run(greyBatch())).result.results).toHaveLength(1);
    pool.requireServing();
  });

  test('fail the batch whose worker ended, when it has waited for so long', async () => {
    const { pool, threads, takeAway } = await startRemovable({ pausesMs: [60_000], outageLimitMs: 100 });
    takeAway();
    breakThread(threads[0]);
    await expectHandlerError(pool.run('generation', greyBatch()), 'NOT_READY');
  });
});

test('a worker that lived long enough is followed at once, however many there were before', async () => {
  const threads = watchThreads();
  const { pool, notices } = await startPool(1, { pausesMs: [0, 60_000], stableMs: 0 });
  for (let count = 0; count < 3; count += 1) {
    breakThread(threads.at(-1));
    await expect.poll(() => notices.length).toBe(count + 1);
    await livesAgain(pool);
  }
  expect(notices.filter((line) => line.endsWith('at once.'))).toHaveLength(3);
});

describe('closing', () => {
  test('in a pause before a start does not wait for it', async () => {
    const threads = watchThreads();
    const { pool } = await startPool(1, { pausesMs: [60_000] });
    breakThread(threads[0]);
    await expect.poll(() => pool.liveCount()).toBe(0);
    await pool.close();
    expect(threads).toHaveLength(1);
    expect(livingThreads(threads)).toEqual([]);
  });

  test('while a new worker loads ends that one too', async () => {
    const threads = watchThreads();
    const { pool } = await startPool(1);
    breakThread(threads[0]);
    await expect.poll(() => threads.length, { interval: 1 }).toBe(2);
    expect(pool.liveCount()).toBe(0);
    await pool.close();
    expect(pool.liveCount()).toBe(0);
    expect(livingThreads(threads)).toEqual([]);
  });

  test('waits for the second try of a batch', async () => {
    const threads = breakAtDeadlyBatches(1);
    const { pool } = await startPool(1);
    const run = pool.run('generation', greyBatch(DEADLY));
    await pool.close();
    expect((await run).results).toHaveLength(1);
    expect(livingThreads(threads)).toEqual([]);
  });

  test('waits no longer than batches do where no worker lives', async () => {
    const threads = breakAtDeadlyBatches(1);
    const { pool } = await startPool(1, { pausesMs: [60_000], outageLimitMs: 100 });
    const refused = expectHandlerError(pool.run('generation', greyBatch(DEADLY)), 'NOT_READY');
    await pool.close();
    await refused;
    expect(livingThreads(threads)).toEqual([]);
  });

  test('replaces nobody', async () => {
    const threads = watchThreads();
    const { pool, notices } = await startPool(2);
    await pool.close();
    await sleep(50);
    expect({ notices, started: threads.length, living: livingThreads(threads).length }).toEqual({
      notices: [],
      started: 2,
      living: 0,
    });
  });
});
