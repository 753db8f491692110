import { describe, expect, test, vi } from 'vitest';
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
    expect(livingThreads(threads)).toEqual([]);
  });

  test('ends where no worker takes it', async () => {
    const threads = watchThreads();
    await dismissEarlyThread(); // There is none.
    startThreadEarly();
    await dismissEarlyThread();
    expect(threads).toHaveLength(1);
    expect(livingThreads(threads)).toEqual([]);
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
    await vi.waitFor(() => expect(livingThreads(threads)).toEqual([]), { timeout: 5_000 });
  });
});
