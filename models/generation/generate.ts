import { conditional, loop } from '../../onnx/control-flow.ts';
import type { ElementType } from '../../onnx/element-type.ts';
import { addOutput, type Graph, type Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import type { KeysAndValues } from '../language-models/bert.ts';
import { anyTrue, type BeamState, beamSearchStep, initialBeamState, lengthPower } from './beam-search.ts';
import { processLogits } from './logits-processors.ts';
import { chooseNextTokens, type SequenceState } from './next-token.ts';
import type { GenerationParameters } from './parameters.ts';

/** Prompts of a batch. Shorter ones are padded on the left with their own first token. */
export interface Prompt {
  /** [rows, length] */
  readonly inputIds: Value<'int64'>;
  /** [rows] */
  readonly paddingLength: Value<'int64'>;
}

export interface GenerationModel {
  /** An empty cache for that many sequences. */
  readonly emptyCache: (scope: Scope, sequenceCount: Value<'int64'>) => readonly KeysAndValues[];
  /** Logits [sequences, vocabulary] of the last of the new tokens, and the cache with them appended. */
  readonly decode: (
    scope: Scope,
    step: {
      readonly inputIds: Value<'int64'>;
      readonly paddingLength: Value<'int64'>;
      readonly past: readonly KeysAndValues[];
    },
  ) => { readonly logits: Value<'float32'>; readonly present: readonly KeysAndValues[] };
  readonly eosTokenId: number;
  readonly padTokenId: number;
}

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

interface LoopState {
  readonly inputIds: Value<'int64'>;
  readonly sequences: SequenceState;
  readonly beams: BeamState;
  readonly cache: readonly KeysAndValues[];
}

/**
 * transformers' `generate` (generation/utils.py) as one ONNX Loop. The first iteration reads whole prompts, each later
 * one the token that was chosen last. It ends when every row is done.
 */
export function generate(
  parent: Scope,
  prompt: Prompt,
  parameters: GenerationParameters,
  model: GenerationModel,
): GeneratedSequences {
  const scope = createScope(parent.graph, 'generation');
  const layout = sequenceLayout(scope, prompt, parameters);
  const cache = model.emptyCache(scope, layout.sequenceCount);
  const final = loop(scope, initialState(scope, prompt, layout, cache), (body, iteration, state) => {
    const step = { inputIds: state.inputIds, paddingLength: layout.paddingLength, past: state.cache };
    const { logits, present } = model.decode(body, step);
    const { goOn, sources, ...next } = chooseNext(body, logits, iteration, state, { layout, parameters, model });
    const inputIds = body.op.gather(next.sequences.tokenIds, [-1], 1);
    return { state: { ...next, inputIds, cache: reorder(body, present, sources) }, goOn };
  });
  return result(scope, final, prompt, layout, parameters);
}

/** Adds `token_ids`, `token_logprobs`, `sequence_end` and `sequence_score` to a graph's outputs. */
export function addGeneratedOutputs(graph: Graph, sequences: GeneratedSequences): void {
  addOutput(graph, 'token_ids', sequences.tokenIds, ['rows', 'sequences', 'length']);
  addOutput(graph, 'token_logprobs', sequences.tokenLogprobs, ['rows', 'sequences', 'length']);
  addOutput(graph, 'sequence_end', sequences.ends, ['rows', 'sequences']);
  addOutput(graph, 'sequence_score', sequences.scores, ['rows', 'sequences']);
}

/** Each row becomes several sequences side by side: beams that compete, or independent samples. */
interface SequenceLayout {
  readonly isBeamSearch: Value<'bool'>;
  readonly rowCount: Value<'int64'>;
  /** Sequences per row. */
  readonly perRow: Value<'int64'>;
  readonly sequenceCount: Value<'int64'>;
  /** [rows, 1] */
  readonly firstSequence: Value<'int64'>;
  /** [sequences] */
  readonly paddingLength: Value<'int64'>;
  readonly minNewTokens: Value<'int64'>;
  readonly maxNewTokens: Value<'int64'>;
  /** [rows, 1] */
  readonly maxNewTokensOfRow: Value<'int64'>;
}

function sequenceLayout(scope: Scope, prompt: Prompt, parameters: GenerationParameters): SequenceLayout {
  const { op } = scope;
  const isBeamSearch = op.greater(parameters.numBeams, 1);
  const sequences = op.where(isBeamSearch, parameters.numBeams, parameters.numReturnSequences);
  const perRow = op.unsqueeze(sequences, [0]);
  const rowCount = op.dimension(prompt.inputIds, 0);
  const rows = op.countTo(rowCount);
  return {
    isBeamSearch,
    rowCount,
    perRow,
    sequenceCount: op.mul(rowCount, perRow),
    firstSequence: op.mul(op.unsqueeze(rows, [1]), perRow),
    paddingLength: repeatRows(scope, prompt.paddingLength, perRow, []),
    minNewTokens: repeatRows(scope, parameters.minNewTokens, perRow, []),
    maxNewTokens: repeatRows(scope, parameters.maxNewTokens, perRow, []),
    maxNewTokensOfRow: op.unsqueeze(parameters.maxNewTokens, [1]),
  };
}

/** [rows, …rest] → [rows * perRow, …rest], each row `perRow` times in a row. */
function repeatRows<T extends ElementType>(
  { op }: Scope,
  x: Value<T>,
  perRow: Value<'int64'>,
  rest: readonly (number | Value<'int64'>)[],
): Value<T> {
  const ones = rest.map(() => 1);
  return op.reshape(op.expand(op.unsqueeze(x, [1]), [1, perRow, ...ones]), [-1, ...rest]);
}

function initialState(
  scope: Scope,
  prompt: Prompt,
  layout: SequenceLayout,
  cache: readonly KeysAndValues[],
): LoopState {
  const { op } = scope;
  const length = op.dimension(prompt.inputIds, 1);
  const tokenIds = repeatRows(scope, prompt.inputIds, layout.perRow, [length]);
  const tokenLogprobs = op.fill('float32', 0, [layout.sequenceCount, length]);
  return {
    inputIds: tokenIds,
    sequences: {
      tokenIds,
      tokenLogprobs,
      finished: op.fill('bool', false, [layout.sequenceCount]),
      ends: op.expand(length, [layout.sequenceCount]),
    },
    beams: initialBeamState(scope, { tokenIds, tokenLogprobs }, layout.rowCount, layout.perRow),
    cache,
  };
}

/** What one iteration decides. */
interface Decision {
  readonly sequences: SequenceState;
  readonly beams: BeamState;
  /** [sequences]: the sequence that each new one continues. */
  readonly sources: Value<'int64'>;
  readonly goOn: Value<'bool'>;
}

function chooseNext(
  scope: Scope,
  logits: Value<'float32'>,
  generatedCount: Value<'int64'>,
  state: LoopState,
  context: {
    readonly layout: SequenceLayout;
    readonly parameters: GenerationParameters;
    readonly model: GenerationModel;
  },
): Decision {
  const { layout, parameters, model } = context;
  const { sequences, beams } = state;
  const { eosTokenId, padTokenId } = model;
  const { tokenIds } = sequences;
  const { paddingLength, minNewTokens } = layout;
  const processing = { tokenIds, paddingLength, minNewTokens, generatedCount, parameters, eosTokenId };
  return conditional<Decision>(
    scope,
    layout.isBeamSearch,
    (branch) => {
      const scores = processLogits(branch, branch.op.logSoftmax(logits), processing);
      const step = beamSearchStep(branch, scores, sequences, beams, {
        parameters,
        generatedCount,
        maxNewTokens: layout.maxNewTokensOfRow,
        firstSequence: layout.firstSequence,
        rowCount: layout.rowCount,
        eosTokenId,
        padTokenId,
      });
      const { tokenIds, tokenLogprobs, sources } = step;
      return {
        sequences: { ...sequences, tokenIds, tokenLogprobs },
        beams: step.state,
        sources,
        goOn: anyLeft(branch, step.state.done),
      };
    },
    (branch) => {
      const scores = processLogits(branch, logits, processing);
      const choice = { parameters, generatedCount, maxNewTokens: layout.maxNewTokens, eosTokenId, padTokenId };
      const next = chooseNextTokens(branch, scores, sequences, choice);
      const sequenceCount = branch.op.squeeze(layout.sequenceCount, [0]);
      const sources = branch.op.range(0, sequenceCount);
      return { sequences: next, beams, sources, goOn: anyLeft(branch, next.finished) };
    },
  );
}

/** Whether some entry is still false; a scalar. */
function anyLeft(scope: Scope, finished: Value<'bool'>): Value<'bool'> {
  const { op } = scope;
  const flat = op.reshape(op.not(finished), [-1]);
  return op.squeeze(anyTrue(scope, flat), [0]);
}

/** The cache of the sequences that are continued, in their new order. */
function reorder({ op }: Scope, present: readonly KeysAndValues[], sources: Value<'int64'>): readonly KeysAndValues[] {
  return present.map(({ keys, values }) => ({
    keys: op.gather(keys, sources, 0),
    values: op.gather(values, sources, 0),
  }));
}

function result(
  scope: Scope,
  final: LoopState,
  prompt: Prompt,
  layout: SequenceLayout,
  parameters: GenerationParameters,
): GeneratedSequences {
  return conditional<GeneratedSequences>(
    scope,
    layout.isBeamSearch,
    (branch) => {
      const wanted = branch.op.range(0, parameters.numReturnSequences);
      const first = <T extends ElementType>(x: Value<T>) => branch.op.gather(x, wanted, 1);
      return {
        tokenIds: first(final.beams.bestTokenIds),
        tokenLogprobs: first(final.beams.bestTokenLogprobs),
        ends: first(final.beams.bestEnds),
        scores: first(final.beams.bestScores),
      };
    },
    (branch) => {
      const generated = branch.op.sub(final.sequences.ends, branch.op.dimension(prompt.inputIds, 1));
      const sum = branch.op.reduceSum(final.sequences.tokenLogprobs, 1);
      const scores = branch.op.div(sum, lengthPower(branch, generated, parameters));
      const byRow = <T extends ElementType>(x: Value<T>, ...rest: readonly number[]) =>
        branch.op.reshape(x, [layout.rowCount, layout.perRow, ...rest]);
      return {
        tokenIds: byRow(final.sequences.tokenIds, -1),
        tokenLogprobs: byRow(final.sequences.tokenLogprobs, -1),
        ends: byRow(final.sequences.ends),
        scores: byRow(scores),
      };
    },
  );
}
