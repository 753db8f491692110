import { describe, expect, test } from 'vitest';
import { chooseExecutionProvider } from '../../../pipeline/sessions/execution-provider.ts';
import type { ExecutionProvider } from '../../../pipeline/sessions/execution-provider-choices.ts';
import { probeExecutionProvider } from '../../../pipeline/sessions/runtime.ts';

/** A machine on which only the given providers work. */
const machine = (working: readonly ExecutionProvider[]) => async (provider: ExecutionProvider) =>
  working.includes(provider) ? undefined : 'no such library.\nmore about it';

describe('the execution provider', () => {
  test('is the GPU with auto, where there is one', async () => {
    expect(await chooseExecutionProvider('auto', machine(['cpu', 'cuda']))).toMatchObject({
      executionProvider: 'cuda',
    });
  });

  test('is the CPU with auto elsewhere, with the reason in one line', async () => {
    expect(await chooseExecutionProvider('auto', machine(['cpu', 'webgpu']))).toEqual({
      executionProvider: 'cpu',
      reason: 'cuda does not work here: no such library',
    });
  });

  test.each(['cuda', 'webgpu'] as const)('is %s where it is asked for and works', async (choice) => {
    expect(await chooseExecutionProvider(choice, machine([choice]))).toMatchObject({ executionProvider: choice });
  });

  test.each(['cuda', 'webgpu'] as const)('is an error where %s is asked for and does not work', async (choice) => {
    await expect(chooseExecutionProvider(choice, machine(['cpu']))).rejects.toMatchObject({
      code: 'EXECUTION_PROVIDER_UNAVAILABLE',
      message: expect.stringMatching(
        new RegExp(`^Expected the execution provider ${choice} .* got: no such library\\. Use auto or cpu\\.$`),
      ),
    });
  });

  test('works as the probe of this machine says', async () => {
    expect(await probeExecutionProvider('cpu')).toBeUndefined();
    const problem = await probeExecutionProvider('cuda');
    const wanted = problem === undefined ? 'cuda' : 'cpu';
    expect((await chooseExecutionProvider('auto')).executionProvider).toBe(wanted);
  });
});
