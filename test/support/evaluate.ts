import { eachGenerationParameter, type GenerationParameters } from '../../models/generation/parameters.ts';
import { addOutput, createGraph, type Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { flatten } from '../../onnx/value-tree.ts';
import { settingFeeds } from '../../pipeline/sessions/generation-feeds.ts';
import { createSession, type RuntimeTensor } from '../../pipeline/sessions/runtime.ts';
import { runtimeInt64s } from '../../pipeline/sessions/tensors.ts';
import { greedySettings } from './greedy-settings.ts';

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

/** Generation parameters that are written into the graph: those of greedy search, unless others are given. */
export function constantParameters({ op }: Scope, others: Partial<GenerationParameters> = {}): GenerationParameters {
  const feeds = { ...settingFeeds(greedySettings), ...lengthFeeds };
  const parameters = eachGenerationParameter(
    (name, { elementType, shape }) => {
      const numbers = Array.from(feeds[name]?.data ?? [], Number);
      return op.constant(elementType, shape.length === 0 ? (numbers[0] ?? 0) : numbers);
    },
    () => op.constant('float32', [0], [1, 1, 1]),
  );
  return { ...parameters, ...others };
}

const lengthFeeds: Readonly<Record<string, RuntimeTensor>> = {
  max_new_tokens: runtimeInt64s([20]),
  min_new_tokens: runtimeInt64s([0]),
};

/** A matrix of numbers as a constant. */
export function matrix<T extends 'int64' | 'float32'>(
  { op }: Scope,
  elementType: T,
  rows: readonly (readonly number[])[],
): Value<T> {
  return op.constant(elementType, rows.flat(), [rows.length, rows[0]?.length ?? 0]);
}
