import { addInput, addOutput, createGraph, type Graph } from '../../onnx/graph.ts';
import { createScope } from '../../onnx/scope.ts';
import { explainCudaFailure, findCudaMachine } from '../cuda/diagnosis.ts';
import type { Precision, TriedProvider } from './execution-provider-choices.ts';
import { createSession } from './runtime.ts';

/** Numbers of one head of the attention that is tried: CUDA's kernels want multiples of 8. */
const HEAD_SIZE = 8;

/**
 * Tries an execution provider on this machine.
 * @returns `undefined` when it works, else why not. For CUDA that names what is missing.
 */
export async function findProviderProblem(tried: TriedProvider): Promise<string | undefined> {
  if (tried.executionProvider !== 'cuda') return await probeExecutionProvider(tried);
  const machine = findCudaMachine();
  // Without the provider's file there is nothing to try.
  const problem = machine.hasProvider ? await probeExecutionProvider(tried) : 'no provider';
  return problem === undefined ? undefined : explainCudaFailure(problem, machine);
}

/**
 * Runs a graph of one attention in the precision. An addition would not do: on CUDA a session loads without cuDNN, and the
 * first attention fails.
 * @returns `undefined` when it works, else the runtime's message.
 */
export async function probeExecutionProvider({
  executionProvider,
  precision,
  deviceId,
}: TriedProvider): Promise<string | undefined> {
  try {
    const session = await createSession(probeGraph(precision), { executionProvider, deviceId, threadCount: 1 });
    await session.run({ x: { data: new Float32Array(HEAD_SIZE), shape: [1, 1, HEAD_SIZE] } });
    await session.release();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function probeGraph(precision: Precision): Graph {
  const graph = createGraph('probe');
  const x = addInput(graph, 'x', 'float32', [1, 1, HEAD_SIZE]);
  const { op } = createScope(graph);
  const query = op.cast(x, precision);
  const attended = op.microsoft.multiHeadAttention({ query, key: query, value: query }, 1);
  addOutput(graph, 'y', op.cast(attended, 'float32'), [1, 1, HEAD_SIZE]);
  return graph;
}
