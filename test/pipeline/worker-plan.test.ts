import { availableParallelism } from 'node:os';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { availableCpus } from '../../pipeline/container-limits.ts';
import * as diagnosis from '../../pipeline/cuda/diagnosis.ts';
import { startModel } from '../../pipeline/model.ts';
import { planWorkers, type WorkerChoices } from '../../pipeline/worker-plan.ts';
import { testSettings } from '../support/server.ts';
import { watchThreads } from '../support/worker-threads.ts';

vi.mock('../../pipeline/cuda/diagnosis.ts', { spy: true });

const automatic = { optimizeFor: 'latency', workerCount: 'auto', threadsPerWorker: 'auto', deviceIds: [] } as const;
const throughput = { optimizeFor: 'throughput' } as const;

type Changes = Partial<WorkerChoices>;

describe('workers x threads', () => {
  test.each<readonly [place: 'cpu' | 'gpu', cpuCount: number, changes: Changes, plan: string]>([
    ['cpu', 8, {}, '1 x 8'],
    ['gpu', 8, {}, '1 x 8'],
    ['cpu', 2, throughput, '2 x 1'],
    ['cpu', 16, throughput, '4 x 4'],
    ['gpu', 16, throughput, '1 x 16'],
    ['gpu', 8, { ...throughput, deviceIds: [0, 1] }, '2 x 4'],
    ['gpu', 8, { ...throughput, deviceIds: [3], workerCount: 2 }, '2 x 4'],
    ['gpu', 8, { workerCount: 2, deviceIds: [0, 1] }, '4 x 2'],
    ['gpu', 8, { ...throughput, workerCount: 4 }, '4 x 2'],
    ['cpu', 8, { ...throughput, workerCount: 1, threadsPerWorker: 3 }, '1 x 3'],
    ['cpu', 8, { workerCount: 3 }, '3 x 2'],
    ['cpu', 2, { workerCount: 8 }, '8 x 1'],
    ['cpu', 2, { threadsPerWorker: 7 }, '1 x 2'],
  ])('on a %s with %d CPUs and %j are %s', (place, cpuCount, changes, plan) => {
    const { workerCount, threadsPerWorker } = planWorkers({ ...automatic, ...changes }, place, {
      available: cpuCount,
      machine: cpuCount,
    });
    expect(`${workerCount} x ${threadsPerWorker}`).toBe(plan);
  });

  test('follow the limit of a container; what is set by hand follows the machine', () => {
    const cpus = { available: 2, machine: 16 };
    expect(planWorkers(automatic, 'cpu', cpus)).toEqual({ workerCount: 1, threadsPerWorker: 2 });
    expect(planWorkers({ ...automatic, ...throughput }, 'cpu', cpus)).toEqual({ workerCount: 2, threadsPerWorker: 1 });
    const byHand = { ...automatic, workerCount: 3, threadsPerWorker: 20 };
    expect(planWorkers(byHand, 'cpu', cpus)).toEqual({ workerCount: 3, threadsPerWorker: 16 });
  });
});

const runningThreads = (threads: ReturnType<typeof watchThreads>) =>
  threads.filter(({ threadId }) => threadId !== -1).length;

describe('a model for throughput', () => {
  const cpus = { available: availableCpus(), machine: availableParallelism() };
  const onCpu = planWorkers({ ...automatic, ...throughput }, 'cpu', cpus);

  async function start(changes: Parameters<typeof testSettings>[0], hasProvider: boolean) {
    const machine = { ...diagnosis.findCudaMachine(), hasProvider };
    vi.mocked(diagnosis.findCudaMachine).mockReturnValue(machine);
    onTestFinished(() => void vi.mocked(diagnosis.findCudaMachine).mockRestore());
    const threads = watchThreads();
    const model = await startModel(testSettings({ ...throughput, ...changes }));
    onTestFinished(() => model.close());
    return { model, threads };
  }

  test('has the workers of a CPU where nothing of CUDA is installed, at once', async () => {
    const { model, threads } = await start({ executionProvider: 'auto' }, false);
    expect(model.workers).toEqual(onCpu);
    expect(threads).toHaveLength(onCpu.workerCount);
  });

  test('has them too where CUDA is installed and does not work', async () => {
    const { model, threads } = await start({ executionProvider: 'auto' }, true);
    expect(model).toMatchObject({ workers: onCpu, executionProvider: { executionProvider: 'cpu' } });
    expect(runningThreads(threads)).toBe(onCpu.workerCount);
  });

  test('packs when idle, as one for latency does not', async () => {
    expect((await start({}, false)).model.weights).toBe('packed-when-idle');
    expect((await start({ optimizeFor: 'latency' }, false)).model.weights).toBe('mapped');
  });

  test('does not look for CUDA where a CPU is asked for', async () => {
    const { model, threads } = await start({ executionProvider: 'cpu' }, true);
    expect(model.workers).toEqual(onCpu);
    expect(threads).toHaveLength(onCpu.workerCount);
  });
});
