import { expect, test } from 'vitest';
import { logContainerLimits, memoryBudgets } from '../../../handlers/service/container-limits-log.ts';
import type { ContainerLimits } from '../../../pipeline/container-limits.ts';
import { serverTestSettings, type TestSettings } from '../../support/server.ts';

/** The lines that a server logs at its start, each with its level. */
function lines(limits: Partial<ContainerLimits>, changes: Partial<TestSettings> = {}, machineCpus = 8) {
  const logged: { readonly level: string; readonly details: object; readonly message: string }[] = [];
  const line = (level: string) => (details: object, message: string) => void logged.push({ level, details, message });
  const settings = serverTestSettings(changes);
  const all = { cpus: undefined, memoryBytes: undefined, ...limits };
  logContainerLimits(settings, settings, { info: line('info'), warn: line('warn') }, all, machineCpus);
  return logged;
}

test('a limit of CPUs is named with the threads that follow from it', () => {
  expect(lines({ cpus: 1.5 })).toEqual([
    {
      level: 'info',
      details: { cpuLimit: 1.5, machineCpus: 8, cpus: 2 },
      message: expect.stringContaining('BLIP_THREADS=auto'),
    },
  ]);
});

test.each([{}, { cpus: 8 }, { cpus: 12.5 }])('nothing is logged where nothing is limited: %j', (limits) => {
  expect(lines(limits)).toEqual([]);
});

test('budgets that fit the memory are not mentioned; beyond it they are, each by its setting', () => {
  const changes = { maxDecodedBytes: 100_000_000, maxHeldBodyBytes: 50_000_000, maxRunBytes: 300_000_000 };
  const settings = serverTestSettings(changes);
  const budgets = memoryBudgets(settings, settings, 2);
  expect(budgets).toEqual({
    BLIP_MAX_DECODED_BYTES: 200_000_000,
    BLIP_MAX_HELD_BODY_BYTES: 50_000_000,
    BLIP_MAX_RUN_BYTES: 300_000_000,
    BLIP_IMAGE_CACHE_BYTES: 0,
    fetchedImages: 600_000_000,
    decoders: 600_000_000,
  });
  const budgetBytes = Object.values(budgets).reduce((sum, bytes) => sum + bytes, 0);
  expect(lines({ memoryBytes: budgetBytes }, changes, 2)).toEqual([]);
  expect(lines({ memoryBytes: budgetBytes - 1 }, changes, 2)).toEqual([
    {
      level: 'warn',
      details: { memoryLimitBytes: budgetBytes - 1, budgetBytes, budgets },
      message: expect.stringContaining('lower'),
    },
  ]);
});

test('every model and every worker has runs of its own', () => {
  const models = ['one', 'two', 'three'].map((name) => ({ name, checkpoint: 'x' }));
  const settings = serverTestSettings({ models, optimizeFor: 'throughput', imageCacheBytes: 10 });
  const { BLIP_MAX_RUN_BYTES: runBytes, BLIP_IMAGE_CACHE_BYTES: cacheBytes } = memoryBudgets(settings, settings, 4);
  expect({ runBytes, cacheBytes }).toEqual({ runBytes: 12_000_000_000, cacheBytes: 30 });
});
