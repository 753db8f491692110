import type { GenerationParameters } from '../../models/generation/parameters.ts';
import { addOutput, createGraph, type Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { flatten } from '../../onnx/value-tree.ts';
import { createSession, type RuntimeTensor } from '../../pipeline/sessions/runtime.ts';

export interface Evaluated {
  readonly data: readonly number[];
  readonly shape: readonly number[];
}

/** Runs a graph on the CPU: the values that `build` returns, each under its path such as `state.done`. */
export async function evaluate(
  build: (scope: Scope) => object,
  inputs: Readonly<Record<string, RuntimeTensor>> = {},
): Promise<Readonly<Record<string, Evaluated>>> {
  const graph = createGraph('evaluated');
  for (const [path, value] of flatten(build(createScope(graph)))) addOutput(graph, `out.${path}`, value);
  const session = await createSession(graph, { executionProvider: 'cpu', threadCount: 1 });
  const outputs = await session.run(inputs);
  await session.release();
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data, shape }]) => [
      name.replace('out.', ''),
      { data: Array.from(data, Number), shape },
    ]),
  );
}

/** Generation parameters that are written into the graph, as greedy search has them unless others are given. */
export function constantParameters({ op }: Scope, others: Partial<GenerationParameters> = {}): GenerationParameters {
  const int64 = (value: number) => op.constant('int64', value);
  const float32 = (value: number) => op.constant('float32', value);
  return {
    maxNewTokens: op.constant('int64', [20]),
    minNewTokens: op.constant('int64', [0]),
    numBeams: int64(1),
    numReturnSequences: int64(1),
    lengthPenalty: float32(1),
    earlyStopping: int64(0),
    repetitionPenalty: float32(1),
    noRepeatNgramSize: int64(0),
    doSample: op.constant('bool', false),
    temperature: float32(1),
    topK: int64(50),
    topP: float32(1),
    uniforms: op.constant('float32', [0], [1, 1, 1]),
    ...others,
  };
}

/** A matrix of numbers as a constant. */
export function matrix<T extends 'int64' | 'float32'>(
  { op }: Scope,
  elementType: T,
  rows: readonly (readonly number[])[],
): Value<T> {
  return op.constant(elementType, rows.flat(), [rows.length, rows[0]?.length ?? 0]);
}
