import { HandlerError } from '../../protocol/errors.ts';
import type { ChosenExecutionProvider, ExecutionProviderChoice } from './execution-provider-choices.ts';
import { probeExecutionProvider } from './runtime.ts';

/**
 * Decides where graphs run. `auto` never chooses `webgpu`: Loop runs on the CPU there, and its state would cross the bus
 * at every token.
 * @throws HandlerError `EXECUTION_PROVIDER_UNAVAILABLE` when the requested one does not work on this machine.
 */
export async function chooseExecutionProvider(
  choice: ExecutionProviderChoice,
  probe: typeof probeExecutionProvider = probeExecutionProvider,
): Promise<ChosenExecutionProvider> {
  if (choice === 'cpu') return { executionProvider: 'cpu', reason: 'cpu was asked for' };
  const wanted = choice === 'auto' ? 'cuda' : choice;
  const problem = await probe(wanted);
  if (problem === undefined) {
    return {
      executionProvider: wanted,
      reason: choice === 'auto' ? `${wanted} works here` : `${wanted} was asked for`,
    };
  }
  if (choice === 'auto')
    return { executionProvider: 'cpu', reason: `${wanted} does not work here: ${firstLine(problem)}` };
  throw new HandlerError(
    'EXECUTION_PROVIDER_UNAVAILABLE',
    `Expected the execution provider ${choice} to work on this machine, got: ${firstLine(problem)}. Use auto or cpu.`,
  );
}

/**
 * Decides where graphs with int8 weights run. Only the CPU has kernels for their products.
 * @throws HandlerError `EXECUTION_PROVIDER_UNAVAILABLE` when another provider was requested.
 */
export function chooseForInt8(choice: ExecutionProviderChoice): ChosenExecutionProvider {
  if (choice === 'auto' || choice === 'cpu') return { executionProvider: 'cpu', reason: 'int8 weights run on the CPU' };
  throw new HandlerError(
    'EXECUTION_PROVIDER_UNAVAILABLE',
    `Expected the execution provider auto or cpu for a checkpoint of int8 weights, got ${choice}.`,
  );
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]?.slice(0, 300).replace(/\.$/, '') ?? '';
}
