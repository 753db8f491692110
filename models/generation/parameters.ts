import {
  generationParameters,
  type ParameterColumn,
  parameterColumn,
} from '../../checkpoint/config/generation-parameters.ts';
import { addInput, type Graph, type Value } from '../../onnx/graph.ts';

type GraphInputs = ParameterColumn<'graph'>;

type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/**
 * Generation parameters as inputs of the graph, so that one graph serves every combination. Each is a scalar, except for
 * `maxNewTokens` and `minNewTokens`, [rows].
 */
export type GenerationParameters = {
  readonly [Name in keyof GraphInputs as CamelCase<Name>]: Value<GraphInputs[Name]['elementType']>;
} & {
  /** [rows, steps, draws]: numbers from 0 up to 1 that sampling draws with. Equal numbers draw equal tokens. */
  readonly uniforms: Value<'float32'>;
};

/** `early_stopping` as a number: `false`, `true` and `"never"`. */
export const earlyStopping = generationParameters.early_stopping.graph.numbers;

/** Declares the parameters as inputs of `graph`, under transformers' names. */
export function addGenerationParameters(graph: Graph): GenerationParameters {
  return eachGenerationParameter(
    (name, { elementType, shape }) => addInput(graph, name, elementType, shape),
    () => addInput(graph, 'uniforms', 'float32', ['uniform_rows', 'uniform_steps', 'uniform_draws']),
  );
}

type GraphInput = GraphInputs[keyof GraphInputs];

/** Makes a value for each row of the table that graphs have an input for, and then the random numbers. */
export function eachGenerationParameter(
  make: (name: string, input: GraphInput) => Value<GraphInput['elementType']>,
  makeUniforms: () => Value<'float32'>,
): GenerationParameters {
  const inputs = Object.entries(parameterColumn('graph'));
  const isFirst = ([, input]: (typeof inputs)[number]) => 'comesFirst' in input;
  const ordered = [...inputs.filter(isFirst), ...inputs.filter((input) => !isFirst(input))];
  const values = ordered.map(([name, input]) => [camelCase(name), make(name, input)]);
  // One value for each row of the table.
  return { ...Object.fromEntries(values), uniforms: makeUniforms() } as GenerationParameters;
}

function camelCase(name: string): string {
  return name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}
