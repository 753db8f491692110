import { addInput, type Graph, type Value } from '../../onnx/graph.ts';

/**
 * Generation parameters as inputs of the graph, under transformers' names (generation/configuration_utils.py), so that
 * one graph serves every combination. Scalars unless a shape is given.
 */
export interface GenerationParameters {
  /** [rows] */
  readonly maxNewTokens: Value<'int64'>;
  /** [rows] */
  readonly minNewTokens: Value<'int64'>;
  readonly numBeams: Value<'int64'>;
  readonly numReturnSequences: Value<'int64'>;
  readonly lengthPenalty: Value<'float32'>;
  /** One of `earlyStopping`. */
  readonly earlyStopping: Value<'int64'>;
  readonly repetitionPenalty: Value<'float32'>;
  readonly noRepeatNgramSize: Value<'int64'>;
  readonly doSample: Value<'bool'>;
  readonly temperature: Value<'float32'>;
  readonly topK: Value<'int64'>;
  readonly topP: Value<'float32'>;
  /** [rows, steps, draws]: numbers from 0 up to 1 that sampling draws with; their seed makes it repeatable. */
  readonly uniforms: Value<'float32'>;
}

/** `early_stopping` as a number: `false`, `true` and `"never"`. */
export const earlyStopping = { false: 0, true: 1, never: 2 } as const;

/** Declares the parameters as inputs of `graph`. */
export function addGenerationParameters(graph: Graph): GenerationParameters {
  return {
    maxNewTokens: addInput(graph, 'max_new_tokens', 'int64', ['rows']),
    minNewTokens: addInput(graph, 'min_new_tokens', 'int64', ['rows']),
    numBeams: addInput(graph, 'num_beams', 'int64', []),
    numReturnSequences: addInput(graph, 'num_return_sequences', 'int64', []),
    lengthPenalty: addInput(graph, 'length_penalty', 'float32', []),
    earlyStopping: addInput(graph, 'early_stopping', 'int64', []),
    repetitionPenalty: addInput(graph, 'repetition_penalty', 'float32', []),
    noRepeatNgramSize: addInput(graph, 'no_repeat_ngram_size', 'int64', []),
    doSample: addInput(graph, 'do_sample', 'bool', []),
    temperature: addInput(graph, 'temperature', 'float32', []),
    topK: addInput(graph, 'top_k', 'int64', []),
    topP: addInput(graph, 'top_p', 'float32', []),
    uniforms: addInput(graph, 'uniforms', 'float32', ['uniform_rows', 'uniform_steps', 'uniform_draws']),
  };
}
