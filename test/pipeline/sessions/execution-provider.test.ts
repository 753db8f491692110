import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import {
  automaticPrecisions,
  chooseExecutionProvider,
  chooseForInt8,
} from '../../../pipeline/sessions/execution-provider.ts';
import type {
  ComputeChoice,
  ExecutionProvider,
  TriedProvider,
} from '../../../pipeline/sessions/execution-provider-choices.ts';
import { findProviderProblem, probeExecutionProvider } from '../../../pipeline/sessions/provider-probe.ts';
import { checkpointFolder } from '../../support/goldens.ts';

/** A machine on which only the given providers work. */
const machine =
  (working: readonly ExecutionProvider[]) =>
  async ({ executionProvider }: TriedProvider) =>
    working.includes(executionProvider) ? undefined : 'no such library.\nmore about it';

const choiceOf = (executionProvider: ComputeChoice['executionProvider'], more: Partial<ComputeChoice> = {}) =>
  ({ executionProvider, precision: 'auto', ...more }) as const;

describe('the execution provider', () => {
  test('is the GPU with auto, where there is one', async () => {
    expect(await chooseExecutionProvider(choiceOf('auto'), machine(['cpu', 'cuda']))).toEqual({
      executionProvider: 'cuda',
      precision: 'float16',
      reason: 'cuda works here',
    });
  });

  test('is the CPU with auto elsewhere, with the reason in one line', async () => {
    expect(await chooseExecutionProvider(choiceOf('auto'), machine(['cpu', 'webgpu']))).toEqual({
      executionProvider: 'cpu',
      precision: 'float32',
      reason: 'no CUDA here: no such library',
    });
  });

  test.each(['cuda', 'webgpu'] as const)('is %s where it is asked for and works', async (name) => {
    expect(await chooseExecutionProvider(choiceOf(name), machine([name]))).toMatchObject({ executionProvider: name });
  });

  test.each(['cuda', 'webgpu'] as const)('is an error where %s is asked for and does not work', async (name) => {
    await expect(chooseExecutionProvider(choiceOf(name), machine(['cpu']))).rejects.toMatchObject({
      code: 'EXECUTION_PROVIDER_UNAVAILABLE',
      message: `Expected the execution provider ${name} to work on this machine, got: no such library. Use auto or cpu.`,
    });
  });

  test('is no CPU with auto where a device is named', async () => {
    await expect(chooseExecutionProvider(choiceOf('auto', { deviceId: 3 }), machine(['cpu']))).rejects.toMatchObject({
      code: 'EXECUTION_PROVIDER_UNAVAILABLE',
      message:
        'Expected the execution provider cuda to work on device 3 of this machine, got: no such library. Change BLIP_DEVICES, or leave it out.',
    });
  });

  test('works as the probe of this machine says', async () => {
    for (const precision of ['float32', 'float16'] as const)
      expect(await probeExecutionProvider({ executionProvider: 'cpu', precision })).toBeUndefined();
    const problem = await findProviderProblem({ executionProvider: 'cuda', precision: 'float16' });
    const wanted = problem === undefined ? 'cuda' : 'cpu';
    expect((await chooseExecutionProvider(choiceOf('auto'))).executionProvider).toBe(wanted);
  });
});

describe('the precision', () => {
  test.each(['float32', 'float16', 'bfloat16'] as const)('is %s on CUDA where it is asked for', async (precision) => {
    const tried: TriedProvider[] = [];
    const problemOf = async (provider: TriedProvider) => {
      tried.push(provider);
      return undefined;
    };
    const chosen = await chooseExecutionProvider(choiceOf('cuda', { precision, deviceId: 1 }), problemOf);
    expect(chosen.precision).toBe(precision);
    expect(tried).toEqual([{ executionProvider: 'cuda', precision, deviceId: 1 }]);
  });

  test('is the first that works for the model on CUDA, where nothing is asked for', async () => {
    const automatic = ['bfloat16', 'float16'] as const;
    const worksIn = (working: readonly string[]) => async (provider: TriedProvider) =>
      working.includes(provider.precision) ? undefined : `no ${provider.precision}`;
    const precisionIn = async (working: readonly string[], more: Partial<ComputeChoice> = {}) =>
      (await chooseExecutionProvider(choiceOf('auto', { automatic, ...more }), worksIn(working))).precision;
    expect(await precisionIn(['bfloat16', 'float16'])).toBe('bfloat16');
    expect(await precisionIn(['float16'])).toBe('float16');
    expect(await precisionIn(['bfloat16', 'float16'], { precision: 'float16' })).toBe('float16');
    expect(await precisionIn([])).toBe('float32');
  });

  test.each([
    ['blip2-t5', 'bfloat16'],
    ['instructblip-t5', 'bfloat16'],
    ['blip2-opt', 'float16'],
    ['narrow-vision', 'float16'],
  ] as const)('of %s is %s first', (name, wanted) => {
    expect(automaticPrecisions(openCheckpoint(checkpointFolder(name)))[0]).toBe(wanted);
  });

  test.each(['cpu', 'webgpu'] as const)('is float32 on %s', async (name) => {
    for (const precision of ['auto', 'float32'] as const)
      expect(await chooseExecutionProvider(choiceOf(name, { precision }), machine([name]))).toMatchObject({
        executionProvider: name,
        precision: 'float32',
      });
  });

  test.each([
    ['cpu', 'cpu (cpu was asked for)'],
    ['webgpu', 'webgpu'],
    ['auto', 'cpu (no CUDA here: no such library)'],
  ] as const)('of 16 bits is refused with %s where there is no CUDA', async (name, got) => {
    for (const precision of ['float16', 'bfloat16'] as const)
      await expect(chooseExecutionProvider(choiceOf(name, { precision }), machine(['webgpu']))).rejects.toMatchObject({
        code: 'PRECISION_UNAVAILABLE',
        message: `Expected CUDA for the precision ${precision}, got ${got}. Set BLIP_PRECISION to auto or float32.`,
      });
  });

  test('of 16 bits is refused for int8 weights, and so is a device', () => {
    expect(() => chooseForInt8(choiceOf('auto', { precision: 'float16' }))).toThrow(
      'Expected CUDA for the precision float16, got cpu (int8 weights run on the CPU).',
    );
    expect(() => chooseForInt8(choiceOf('auto', { deviceId: 0 }))).toThrow('got device 0 of BLIP_DEVICES.');
  });
});
