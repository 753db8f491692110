/** The values of `BLIP_EXECUTION_PROVIDER`. This file imports nothing, so that settings load no runtime. */

/** Where a graph can run. */
export type ExecutionProvider = 'cpu' | 'cuda' | 'webgpu';

/** `auto` takes CUDA where it works, else the CPU. */
export const executionProviderChoices = ['auto', 'cpu', 'cuda', 'webgpu'] as const;
export type ExecutionProviderChoice = (typeof executionProviderChoices)[number];

/** The execution provider that a worker thread uses. */
export interface ChosenExecutionProvider {
  readonly executionProvider: ExecutionProvider;
  /** Why it was chosen; the log has it. */
  readonly reason: string;
}
