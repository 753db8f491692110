import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { startInferenceWorker, startThreadEarly } from '../../../pipeline/workers/worker-thread.ts';
import { greyBatch, smallWorkerSettings } from '../../support/worker-batches.ts';

vi.mock('node:worker_threads', { spy: true });

afterEach(() => void vi.clearAllMocks());

describe('a thread that starts before its settings are known', () => {
  test('is taken by the next worker, and by no other', async () => {
    startThreadEarly();
    startThreadEarly();
    expect(Worker).toHaveBeenCalledTimes(1);
    const first = await startInferenceWorker(smallWorkerSettings);
    expect(Worker).toHaveBeenCalledTimes(1);
    const second = await startInferenceWorker(smallWorkerSettings);
    expect(Worker).toHaveBeenCalledTimes(2);
    const noPause = async () => true;
    const results = [first, second].map((worker) => worker.run('generation', greyBatch(), noPause));
    const [ofFirst, ofSecond] = await Promise.all(results);
    expect(ofFirst?.results).toEqual(ofSecond?.results);
    await Promise.all([first.close(), second.close()]);
  });

  test('reports a checkpoint that cannot be served as any thread does, and ends', async () => {
    startThreadEarly();
    const starting = startInferenceWorker({ ...smallWorkerSettings, folder: '/nowhere' });
    await expect(starting).rejects.toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_NOT_FOUND' });
    const [thread] = vi.mocked(Worker).mock.instances;
    await vi.waitFor(() => expect(thread?.threadId).toBe(-1), { timeout: 5_000 });
  });
});
