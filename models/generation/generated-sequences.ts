import { addOutput, type Graph, type Value } from '../../onnx/graph.ts';

export interface GeneratedSequences {
  /** [rows, sequences, length]: padding and prompt included, as transformers returns them. */
  readonly tokenIds: Value<'int64'>;
  /** [rows, sequences, length]: 0 where nothing was generated. */
  readonly tokenLogprobs: Value<'float32'>;
  /** [rows, sequences]: where each sequence ends, counted with its padding. */
  readonly ends: Value<'int64'>;
  /** [rows, sequences]: summed log-probabilities / generated length ** length_penalty. */
  readonly scores: Value<'float32'>;
}

/** Adds `token_ids`, `token_logprobs`, `sequence_end` and `sequence_score` to a graph's outputs. */
export function addGeneratedOutputs(graph: Graph, sequences: GeneratedSequences): void {
  addOutput(graph, 'token_ids', sequences.tokenIds, ['rows', 'sequences', 'length']);
  addOutput(graph, 'token_logprobs', sequences.tokenLogprobs, ['rows', 'sequences', 'length']);
  addOutput(graph, 'sequence_end', sequences.ends, ['rows', 'sequences']);
  addOutput(graph, 'sequence_score', sequences.scores, ['rows', 'sequences']);
}
