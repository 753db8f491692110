/**
 * The values of `BLIP_EXECUTION_PROVIDER` and `BLIP_PRECISION`. This file imports nothing, so that settings load no
 * runtime.
 */

/** Where a graph can run. */
export type ExecutionProvider = 'cpu' | 'cuda' | 'webgpu';

/** `auto` takes CUDA where it works, else the CPU. */
export const executionProviderChoices = ['auto', 'cpu', 'cuda', 'webgpu'] as const;
export type ExecutionProviderChoice = (typeof executionProviderChoices)[number];

/** The type that a model computes with. */
export type Precision = 'float32' | 'float16' | 'bfloat16';

/** `auto` is float16 on CUDA, bfloat16 there for a model that float16 is too narrow for, and float32 elsewhere. */
export const precisionChoices = ['auto', 'float32', 'float16', 'bfloat16'] as const;
export type PrecisionChoice = (typeof precisionChoices)[number];

/** Where and how a worker is to compute, as the settings say it. */
export interface ComputeChoice {
  readonly executionProvider: ExecutionProviderChoice;
  readonly precision: PrecisionChoice;
  /** Tried on CUDA for `auto`, in this order; float16 alone unless it is given. */
  readonly automatic?: readonly [Precision, ...Precision[]];
  /** The number of a CUDA device; where there is one, `auto` is CUDA. */
  readonly deviceId?: number | undefined;
}

/** The execution provider and the precision that a worker thread uses. */
export interface ChosenExecutionProvider {
  readonly executionProvider: ExecutionProvider;
  readonly precision: Precision;
  /** Why it was chosen; the log has it. */
  readonly reason: string;
}

/** A provider that is tried, with everything that the result depends on. */
export interface TriedProvider extends Omit<ChosenExecutionProvider, 'reason'> {
  readonly deviceId?: number | undefined;
}
