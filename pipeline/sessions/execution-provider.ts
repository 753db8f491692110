import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type {
  ChosenExecutionProvider,
  ComputeChoice,
  ExecutionProvider,
  Precision,
  PrecisionChoice,
  TriedProvider,
} from './execution-provider-choices.ts';
import { findProviderProblem } from './provider-probe.ts';

/** Says why a provider does not work on this machine; `undefined` where it works. */
export type FindProblem = (tried: TriedProvider) => Promise<string | undefined>;

/**
 * Decides where graphs run, and in which precision. `auto` never chooses `webgpu`: Loop runs on the CPU there, and its
 * state would cross the bus at every token.
 * @throws HandlerError `EXECUTION_PROVIDER_UNAVAILABLE` when the requested one does not work on this machine;
 *   `PRECISION_UNAVAILABLE` when 16 bits are asked for where there is no CUDA.
 */
export async function chooseExecutionProvider(
  choice: ComputeChoice,
  findProblem: FindProblem = findProviderProblem,
): Promise<ChosenExecutionProvider> {
  const { executionProvider: name, deviceId } = choice;
  if (name === 'cpu') return chosen('cpu', choice.precision, 'cpu was asked for');
  const wanted = name === 'auto' ? 'cuda' : name;
  const { precision, problem } = await tryPrecisions(wanted, choice, findProblem);
  const isOptional = name === 'auto' && deviceId === undefined;
  if (problem === undefined) {
    const reason = isOptional ? `${wanted} works here` : `${wanted} was asked for`;
    return { executionProvider: wanted, precision, reason };
  }
  if (isOptional) return chosen('cpu', choice.precision, `no CUDA here: ${firstLine(problem)}`);
  throw unavailable(wanted, deviceId, problem);
}

/** The first precision that works, or else the last, and why it does not. */
async function tryPrecisions(
  executionProvider: ExecutionProvider,
  { precision: choice, automatic = ['float16'], deviceId }: ComputeChoice,
  findProblem: FindProblem,
): Promise<{ readonly precision: Precision; readonly problem: string | undefined }> {
  const isAutomatic = executionProvider === 'cuda' && choice === 'auto';
  const [first, ...others] = isAutomatic ? automatic : [precisionOn(executionProvider, choice)];
  const attempt = async (precision: Precision) => ({
    precision,
    problem: await findProblem({ executionProvider, precision, deviceId }),
  });
  let tried = await attempt(first);
  for (const precision of others) if (tried.problem !== undefined) tried = await attempt(precision);
  return tried;
}

/**
 * The precisions that `auto` tries on CUDA. T5 was trained in bfloat16, and its hidden states are too large for float16: in
 * that, a graph has them in float32, beside a Linear of each block, which costs more time.
 */
export function automaticPrecisions(checkpoint: Checkpoint): readonly [Precision, ...Precision[]] {
  const { task, config } = checkpoint;
  const isT5 = task === 'image-text-to-text' && config.language.kind === 't5';
  return isT5 ? ['bfloat16', 'float16'] : ['float16'];
}

/**
 * Decides where graphs with int8 weights run. Only the CPU has kernels for their products, and they compute in float32
 * between them.
 * @throws HandlerError `EXECUTION_PROVIDER_UNAVAILABLE` when another provider or a device was requested;
 *   `PRECISION_UNAVAILABLE` when another precision was.
 */
export function chooseForInt8({
  executionProvider: name,
  precision,
  deviceId,
}: ComputeChoice): ChosenExecutionProvider {
  if (deviceId !== undefined || (name !== 'auto' && name !== 'cpu')) {
    const got = deviceId === undefined ? name : `device ${deviceId} of BLIP_DEVICES`;
    throw new HandlerError(
      'EXECUTION_PROVIDER_UNAVAILABLE',
      `Expected the execution provider auto or cpu for a checkpoint of int8 weights, got ${got}.`,
    );
  }
  return chosen('cpu', precision, 'int8 weights run on the CPU');
}

function chosen(executionProvider: ExecutionProvider, choice: PrecisionChoice, reason: string) {
  return { executionProvider, precision: precisionOn(executionProvider, choice, reason), reason };
}

/** A CPU has no kernels in 16 bits: it would cast around each operator, and be slower. WebGPU was not tried with them. */
function precisionOn(executionProvider: ExecutionProvider, choice: PrecisionChoice, reason?: string): Precision {
  if (executionProvider === 'cuda' && choice !== 'auto') return choice;
  if (choice === 'auto' || choice === 'float32') return 'float32';
  const because = reason === undefined ? '' : ` (${reason})`;
  throw new HandlerError(
    'PRECISION_UNAVAILABLE',
    `Expected CUDA for the precision ${choice}, got ${executionProvider}${because}. Set BLIP_PRECISION to auto or float32.`,
  );
}

function unavailable(wanted: ExecutionProvider, deviceId: number | undefined, problem: string): HandlerError {
  const place = deviceId === undefined ? 'on this machine' : `on device ${deviceId} of this machine`;
  const advice = deviceId === undefined ? 'Use auto or cpu.' : 'Change BLIP_DEVICES, or leave it out.';
  return new HandlerError(
    'EXECUTION_PROVIDER_UNAVAILABLE',
    `Expected the execution provider ${wanted} to work ${place}, got: ${firstLine(problem)}. ${advice}`,
  );
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]?.slice(0, 500).replace(/\.$/, '') ?? '';
}
