import { AsyncResource } from 'node:async_hooks';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { dismissEarlyThread, startInferenceWorker, startThreadEarly } from '../../../pipeline/workers/worker-thread.ts';
import { greyBatch, smallWorkerSettings } from '../../support/worker-batches.ts';
import { livingThreads, watchThreads } from '../../support/worker-threads.ts';

describe('a thread that starts before its settings are known', () => {
  test('is taken by the next worker, and by no other', async () => {
    const threads = watchThreads();
    startThreadEarly();
    startThreadEarly();
    const first = await startInferenceWorker(smallWorkerSettings);
    expect(threads).toHaveLength(1);
    const second = await startInferenceWorker(smallWorkerSettings);
    expect(threads).toHaveLength(2);
    const noPause = async () => true;
    const results = [first, second].map((worker) => worker.run('generation', greyBatch(), noPause));
    const [ofFirst, ofSecond] = await Promise.all(results);
    expect(ofFirst?.results).toEqual(ofSecond?.results);
    await Promise.all([first.close(), second.close()]);
    expect(livingThreads(threads)).toHaveLength(0);
  });

  test('is told apart from threads that other tests of the process start meanwhile', async () => {
    const otherTest = new AsyncResource('other test');
    const threads = watchThreads();
    const start = () => once(new Worker('', { eval: true }), 'exit');
    await Promise.all([otherTest.runInAsyncScope(start), start()]);
    expect(threads).toHaveLength(1);
  });

  test('ends where no worker takes it', async () => {
    const threads = watchThreads();
    await dismissEarlyThread(); // There is none.
    startThreadEarly();
    await dismissEarlyThread();
    expect(threads).toHaveLength(1);
    expect(livingThreads(threads)).toHaveLength(0);
    const worker = await startInferenceWorker(smallWorkerSettings);
    expect(threads).toHaveLength(2);
    await worker.close();
  });

  test('reports a checkpoint that cannot be served as any thread does, and ends', async () => {
    const threads = watchThreads();
    startThreadEarly();
    const starting = startInferenceWorker({ ...smallWorkerSettings, folder: '/nowhere' });
    await expect(starting).rejects.toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_NOT_FOUND' });
    expect(threads).toHaveLength(1);
    await expect.poll(() => livingThreads(threads).length, { timeout: 30_000 }).toBe(0);
  });
});
