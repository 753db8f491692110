import { noTokenRules, type TokenRules } from '../../checkpoint/config/token-rules.ts';
import { conditional, loop } from '../../onnx/control-flow.ts';
import type { ElementType, Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { anyTrue, type BeamState, beamSearchStep, initialBeamState, lengthPower } from './beam-search.ts';
import type { GeneratedSequences } from './generated-sequences.ts';
import { greedySearch, isGreedySearch } from './greedy-search.ts';
import type { LanguageModel, Prompt } from './language-model.ts';
import { processLogits } from './logits-processors.ts';
import { chooseNextTokens, type SequenceState } from './next-token.ts';
import type { GenerationParameters } from './parameters.ts';

/**
 * The state that goes round the loop. In the first iteration the model reads each row's prompt once; from then on it reads
 * the token that was chosen last, for each of the row's sequences.
 */
interface LoopState<Cache extends object> {
  /** [rows, length, width], then [sequences, 1, width] */
  readonly embeddings: Value<Real>;
  /** [rows], then [sequences] */
  readonly paddingLength: Value<'int64'>;
  /** [sequences]: the row, then the sequence, whose logits and cache each sequence continues with. */
  readonly origins: Value<'int64'>;
  /** Of rows, then of sequences. */
  readonly cache: Cache;
  readonly sequences: SequenceState;
  readonly beams: BeamState;
}

/** A model for batches of one sequence for each row, and whether a batch fits it: a scalar. Graphs for GPUs have one. */
export interface GreedyModel<Cache extends object> {
  readonly fits: Value<'bool'>;
  readonly model: LanguageModel<Cache>;
}

/**
 * transformers' `generate` (generation/utils.py).
 * @param rules of the checkpoint about particular tokens.
 * @param greedy the same model for greedy search, which gets a loop of its own if it is given. Rules leave no use for it.
 */
export function generate<Cache extends object>(
  parent: Scope,
  prompt: Prompt,
  parameters: GenerationParameters,
  model: LanguageModel<Cache>,
  rules: TokenRules = noTokenRules,
  greedy?: GreedyModel<Cache>,
): GeneratedSequences {
  const context = { parameters, model, rules, avoidsEmptySums: greedy !== undefined };
  if (greedy === undefined || hasRules(rules)) return search(parent, prompt, context);
  return conditional<GeneratedSequences>(
    parent,
    parent.op.and(isGreedySearch(parent, parameters), greedy.fits),
    (branch) => greedySearch(branch, prompt, parameters, greedy.model),
    (branch) => search(branch, prompt, context),
  );
}

function hasRules(rules: TokenRules): boolean {
  return Object.values(rules).some((rule) => (typeof rule === 'object' ? rule.length > 0 : rule !== undefined));
}

/** The purpose of a search. */
interface SearchContext<Cache extends object> {
  readonly parameters: GenerationParameters;
  readonly model: LanguageModel<Cache>;
  readonly rules: TokenRules;
  readonly avoidsEmptySums: boolean;
}

/**
 * Every kind of search as one ONNX Loop, which ends when every row is done. Its first iteration reads the prompt of each
 * row, and every later one the tokens that were chosen last.
 */
function search<Cache extends object>(
  parent: Scope,
  prompt: Prompt,
  context: SearchContext<Cache>,
): GeneratedSequences {
  const { parameters, model } = context;
  const scope = createScope(parent.op.graph, 'generation');
  const layout = sequenceLayout(scope, prompt, parameters);
  const initial = initialState(scope, prompt, layout, model);
  const final = loop(scope, initial, (body, generatedCount, state) => {
    const { op } = body;
    const read = model.decode(body, state);
    const logits = op.gather(read.logits, state.origins, 0); // [sequences, vocabulary]
    const decision = chooseNext(body, logits, generatedCount, state, { ...context, layout });
    const { sequences, beams, goOn } = decision;
    const origins = op.gather(state.origins, decision.sources, 0);
    const next = {
      embeddings: model.embed(body, op.gather(sequences.tokenIds, [-1], 1)),
      paddingLength: layout.paddingLength,
      origins: layout.sequenceIndices,
      cache: model.select(body, read.cache, origins),
      sequences,
      beams,
    };
    return { state: next, goOn };
  });
  return result(scope, final, initial.sequences, layout, parameters);
}

/** Each row becomes several sequences side by side: beams that compete, or independent samples. */
interface SequenceLayout {
  readonly isBeamSearch: Value<'bool'>;
  readonly rowCount: Value<'int64'>;
  /** Sequences per row. */
  readonly perRow: Value<'int64'>;
  readonly sequenceCount: Value<'int64'>;
  /** [sequences]: 0, 1, 2, … */
  readonly sequenceIndices: Value<'int64'>;
  /** [rows, 1] */
  readonly firstSequence: Value<'int64'>;
  /** [sequences] */
  readonly rowOfSequence: Value<'int64'>;
  /** [rows, length]: the token ids that answers begin with; of length 0 where the model reads embeddings alone. */
  readonly promptIds: Value<'int64'>;
  /** [sequences]: padding in what the model reads, and padding among the token ids. */
  readonly paddingLength: Value<'int64'>;
  readonly idPaddingLength: Value<'int64'>;
  readonly minNewTokens: Value<'int64'>;
  readonly maxNewTokens: Value<'int64'>;
  /** [rows, 1] */
  readonly maxNewTokensOfRow: Value<'int64'>;
}

function sequenceLayout({ op }: Scope, prompt: Prompt, parameters: GenerationParameters): SequenceLayout {
  const isBeamSearch = op.greater(parameters.numBeams, 1);
  const sequences = op.where(isBeamSearch, parameters.numBeams, parameters.numReturnSequences);
  const perRow = op.unsqueeze(sequences, [0]);
  const rowCount = op.dimension(prompt.paddingLength, 0);
  const sequenceCount = op.mul(rowCount, perRow);
  const sequenceIndices = op.countTo(sequenceCount);
  const rowOfSequence = op.div(sequenceIndices, perRow);
  const ofSequences = (rowValues: Value<'int64'>) => op.gather(rowValues, rowOfSequence, 0);
  const paddingLength = ofSequences(prompt.paddingLength);
  return {
    isBeamSearch,
    rowCount,
    perRow,
    sequenceCount,
    sequenceIndices,
    firstSequence: op.mul(op.unsqueeze(op.countTo(rowCount), [1]), perRow),
    rowOfSequence,
    promptIds: prompt.inputIds ?? op.fill('int64', 0, [rowCount, 0]),
    paddingLength,
    idPaddingLength: prompt.inputIds === undefined ? op.fill('int64', 0, [sequenceCount]) : paddingLength,
    minNewTokens: ofSequences(parameters.minNewTokens),
    maxNewTokens: ofSequences(parameters.maxNewTokens),
    maxNewTokensOfRow: op.unsqueeze(parameters.maxNewTokens, [1]),
  };
}

function initialState<Cache extends object>(
  scope: Scope,
  prompt: Prompt,
  layout: SequenceLayout,
  model: LanguageModel<Cache>,
): LoopState<Cache> {
  const { op } = scope;
  const { rowCount, perRow, sequenceCount, rowOfSequence, promptIds } = layout;
  const length = op.dimension(promptIds, 1);
  const tokenIds = op.gather(promptIds, rowOfSequence, 0);
  const tokenLogprobs = op.fill('float32', 0, [sequenceCount, length]);
  return {
    embeddings: prompt.embeddings ?? model.embed(scope, promptIds),
    paddingLength: prompt.paddingLength,
    origins: rowOfSequence,
    cache: model.emptyCache(scope, rowCount),
    sequences: {
      tokenIds,
      tokenLogprobs,
      finished: op.fill('bool', false, [sequenceCount]),
      ends: op.expand(length, [sequenceCount]),
    },
    beams: initialBeamState(scope, promptIds, perRow),
  };
}

/** The decision of one iteration. */
interface Decision {
  readonly sequences: SequenceState;
  readonly beams: BeamState;
  /** [sequences]: the sequence that each new one continues. */
  readonly sources: Value<'int64'>;
  readonly goOn: Value<'bool'>;
}

function chooseNext<Cache extends object>(
  scope: Scope,
  logits: Value<'float32'>,
  generatedCount: Value<'int64'>,
  state: LoopState<Cache>,
  context: SearchContext<Cache> & { readonly layout: SequenceLayout },
): Decision {
  const { layout, parameters, model, rules, avoidsEmptySums } = context;
  const { sequences, beams } = state;
  const { endTokenIds, padTokenId } = model;
  const choice = { parameters, generatedCount, endTokenIds, padTokenId };
  const { idPaddingLength: paddingLength, minNewTokens, maxNewTokens: most } = layout;
  const lengths = { paddingLength, minNewTokens, maxNewTokens: most };
  const processing = { ...choice, ...lengths, tokenIds: sequences.tokenIds, rules, avoidsEmptySums };
  return conditional<Decision>(
    scope,
    layout.isBeamSearch,
    (branch) => {
      const scores = processLogits(branch, branch.op.logSoftmax(logits), processing);
      const { maxNewTokensOfRow: maxNewTokens, firstSequence, rowCount } = layout;
      const step = beamSearchStep(branch, scores, sequences, beams, {
        ...choice,
        maxNewTokens,
        firstSequence,
        rowCount,
      });
      const { tokenIds, tokenLogprobs, sources } = step;
      const goOn = anyLeft(branch, step.state.done);
      return { sequences: { ...sequences, tokenIds, tokenLogprobs }, beams: step.state, sources, goOn };
    },
    (branch) => {
      const scores = processLogits(branch, logits, processing);
      const next = chooseNextTokens(branch, scores, sequences, { ...choice, maxNewTokens: layout.maxNewTokens });
      return { sequences: next, beams, sources: layout.sequenceIndices, goOn: anyLeft(branch, next.finished) };
    },
  );
}

/** Whether some entry is still false; a scalar. */
function anyLeft(scope: Scope, finished: Value<'bool'>): Value<'bool'> {
  const { op } = scope;
  const flat = op.reshape(op.not(finished), [-1]);
  return op.squeeze(anyTrue(scope, flat), [0]);
}

function result<Cache extends object>(
  scope: Scope,
  final: LoopState<Cache>,
  initial: SequenceState,
  layout: SequenceLayout,
  parameters: GenerationParameters,
): GeneratedSequences {
  return conditional<GeneratedSequences>(
    scope,
    layout.isBeamSearch,
    ({ op }) => {
      const requested = op.range(0, parameters.numReturnSequences);
      const first = <T extends ElementType>(x: Value<T>) => op.gather(x, requested, 1);
      const { bestTokenIds, bestTokenLogprobs, bestEnds, bestScores } = final.beams;
      return {
        tokenIds: first(bestTokenIds),
        tokenLogprobs: first(bestTokenLogprobs),
        ends: first(bestEnds),
        scores: first(bestScores),
      };
    },
    (branch) => {
      const { op } = branch;
      const { tokenIds, tokenLogprobs, ends } = final.sequences;
      const generated = op.sub(ends, op.dimension(initial.tokenIds, 1));
      const scores = op.div(op.reduceSum(tokenLogprobs, 1), lengthPower(branch, generated, parameters));
      const byRow = <T extends ElementType>(x: Value<T>, ...rest: readonly number[]) =>
        op.reshape(x, [layout.rowCount, layout.perRow, ...rest]);
      return {
        tokenIds: byRow(tokenIds, -1),
        tokenLogprobs: byRow(tokenLogprobs, -1),
        ends: byRow(ends),
        scores: byRow(scores),
      };
    },
  );
}
