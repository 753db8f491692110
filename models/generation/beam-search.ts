import { bool, float32, int64, int64s } from '../../onnx/constants.ts';
import { conditional } from '../../onnx/control-flow.ts';
import { type ElementType, elementTypeNumbers } from '../../onnx/element-type.ts';
import type { Scope, Value } from '../../onnx/graph.ts';
import * as op from '../../onnx/operators.ts';
import { earlyStopping, type GenerationParameters } from './parameters.ts';
import { drawWithoutReplacement, warpLogits } from './sampling.ts';

/** Stands for "cannot win": low enough to lose against any score, high enough to add to. As in transformers. */
const VERY_LOW = -1e9;
/** Candidates kept per beam: one more than there are end tokens, so that enough beams go on when some end. */
const CANDIDATES_PER_BEAM = 2;

/** What goes round the loop besides the running beams' tokens. */
export interface BeamState {
  /** [rows, beams]: summed log-probabilities of the running beams. */
  readonly runningScores: Value<'float32'>;
  /** [rows, beams, length]: the best finished sequences so far, best first. */
  readonly bestTokenIds: Value<'int64'>;
  readonly bestTokenLogprobs: Value<'float32'>;
  /** [rows, beams] */
  readonly bestEnds: Value<'int64'>;
  /** [rows, beams]: summed log-probabilities over a power of the length. */
  readonly bestScores: Value<'float32'>;
  /** [rows, beams]: whether the entry is a sequence, or still empty. */
  readonly bestFinished: Value<'bool'>;
  /** [rows, 1]: whether a running beam may still beat the finished ones. */
  readonly improvable: Value<'bool'>;
  /** [rows, 1]: whether the search of this row is over; nothing of it changes from then on. */
  readonly done: Value<'bool'>;
}

export interface BeamContext {
  readonly parameters: GenerationParameters;
  readonly generatedCount: Value<'int64'>;
  /** [rows, 1] */
  readonly maxNewTokens: Value<'int64'>;
  /** [rows, 1]: the index of each row's first sequence. */
  readonly firstSequence: Value<'int64'>;
  readonly rowCount: Value<'int64'>;
  readonly eosTokenId: number;
  readonly padTokenId: number;
}

export interface BeamStep {
  readonly state: BeamState;
  /** [rows * beams, length + 1] */
  readonly tokenIds: Value<'int64'>;
  readonly tokenLogprobs: Value<'float32'>;
  /** [rows * beams]: the sequence that each beam continues. */
  readonly sources: Value<'int64'>;
}

/** Continuations of the running beams, [rows, candidates], best (or first drawn) first. */
interface Candidates {
  readonly scores: Value<'float32'>;
  readonly logprobs: Value<'float32'>;
  readonly tokenIds: Value<'int64'>;
  /** Which beam of the row is continued. */
  readonly beams: Value<'int64'>;
}

/** Nothing found yet; only the first beam of each row may grow, because all of them are equal. */
export function initialBeamState(
  scope: Scope,
  prompt: { readonly tokenIds: Value<'int64'>; readonly tokenLogprobs: Value<'float32'> },
  rowCount: Value<'int64'>,
  beamCount: Value<'int64'>,
): BeamState {
  const perBeam = [rowCount, beamCount] as const;
  const others = op.sub(scope, beamCount, int64s(scope, [1]));
  const first = op.expand(scope, float32(scope, 0), [rowCount, 1]);
  return {
    runningScores: op.concat(scope, [first, op.expand(scope, float32(scope, VERY_LOW), [rowCount, others])], 1),
    bestTokenIds: op.reshape(scope, prompt.tokenIds, [rowCount, beamCount, -1]),
    bestTokenLogprobs: op.reshape(scope, prompt.tokenLogprobs, [rowCount, beamCount, -1]),
    bestEnds: op.expand(scope, int64(scope, 0), perBeam),
    bestScores: op.expand(scope, float32(scope, VERY_LOW), perBeam),
    bestFinished: op.expand(scope, bool(scope, false), perBeam),
    improvable: op.expand(scope, bool(scope, true), [rowCount, 1]),
    done: op.expand(scope, bool(scope, false), [rowCount, 1]),
  };
}

/**
 * One step of transformers' vectorised `_beam_search` (generation/utils.py, since 4.50), with `done` per row where
 * transformers stops a whole batch at once.
 * @param scores [rows * beams, vocabulary]: log-probabilities after the logits processors.
 * @param running the beams' tokens so far, [rows * beams, length].
 */
export function beamSearchStep(
  scope: Scope,
  scores: Value<'float32'>,
  running: { readonly tokenIds: Value<'int64'>; readonly tokenLogprobs: Value<'float32'> },
  state: BeamState,
  context: BeamContext,
): BeamStep {
  const candidates = conditional<Candidates>(
    scope,
    context.parameters.doSample,
    (branch) => drawCandidates(branch, scores, state, context),
    (branch) => bestCandidates(branch, scores, state, context),
  );
  const newCount = op.add(scope, context.generatedCount, int64(scope, 1));
  const isEnd = op.equal(scope, candidates.tokenIds, int64(scope, context.eosTokenId));
  const stops = op.or(scope, isEnd, op.greaterOrEqual(scope, newCount, context.maxNewTokens)); // [rows, candidates]
  const sources = op.add(scope, candidates.beams, context.firstSequence); // [rows, candidates]
  const next = nextBeams(scope, candidates, stops, sources, context);
  const best = updateBest(scope, { candidates, stops, sources, newCount, running }, state, context);
  const improvable = stillImprovable(scope, next.runningScores, best, state, context, newCount);
  const done = searchIsOver(scope, { ...best, improvable, stops }, state, context);
  const select = (tokens: Value<'int64'>) => op.gather(scope, tokens, next.sources, 0);
  return {
    state: { ...best, runningScores: next.runningScores, improvable, done },
    tokenIds: op.concat(scope, [select(running.tokenIds), next.tokenIds], 1),
    tokenLogprobs: op.concat(scope, [op.gather(scope, running.tokenLogprobs, next.sources, 0), next.logprobs], 1),
    sources: next.sources,
  };
}

/** The best continuations over all beams of a row. */
function bestCandidates(scope: Scope, scores: Value<'float32'>, state: BeamState, context: BeamContext): Candidates {
  const vocabularySize = op.dimension(scope, scores, 1);
  const accumulated = op.add(scope, scores, op.reshape(scope, state.runningScores, [-1, 1]));
  const perRow = op.reshape(scope, accumulated, [context.rowCount, -1]); // [rows, beams * vocabulary]
  const top = op.topK(scope, perRow, candidateCount(scope, context));
  return {
    scores: top.values,
    logprobs: op.gatherElements(scope, op.reshape(scope, scores, [context.rowCount, -1]), top.indices, 1),
    tokenIds: op.mod(scope, top.indices, vocabularySize),
    beams: op.div(scope, top.indices, vocabularySize),
  };
}

/** Continuations drawn without replacement, by the scores accumulated so far. */
function drawCandidates(scope: Scope, scores: Value<'float32'>, state: BeamState, context: BeamContext): Candidates {
  const { parameters, rowCount, generatedCount } = context;
  const warped = warpLogits(scope, scores, parameters, CANDIDATES_PER_BEAM);
  const perBeam = op.dimension(scope, warped.scores, 1);
  const perRow = (x: Value<'float32'>) => op.reshape(scope, x, [rowCount, -1]); // [rows, beams * candidates of a beam]
  const accumulated = perRow(op.add(scope, warped.scores, op.reshape(scope, state.runningScores, [-1, 1])));
  const uniforms = op.gather(scope, parameters.uniforms, generatedCount, 1);
  const places = drawWithoutReplacement(scope, op.softmax(scope, accumulated), uniforms);
  return {
    scores: op.gatherElements(scope, accumulated, places, 1),
    logprobs: op.gatherElements(scope, perRow(warped.scores), places, 1),
    tokenIds: op.gatherElements(scope, op.reshape(scope, warped.tokenIds, [rowCount, -1]), places, 1),
    beams: op.div(scope, places, perBeam),
  };
}

function candidateCount(scope: Scope, context: BeamContext): Value<'int64'> {
  return op.unsqueeze(scope, op.mul(scope, context.parameters.numBeams, int64(scope, CANDIDATES_PER_BEAM)), [0]);
}

function nextBeams(
  scope: Scope,
  candidates: Candidates,
  stops: Value<'bool'>,
  sources: Value<'int64'>,
  context: BeamContext,
): {
  readonly runningScores: Value<'float32'>;
  readonly sources: Value<'int64'>;
  readonly tokenIds: Value<'int64'>;
  readonly logprobs: Value<'float32'>;
} {
  const open = op.add(scope, candidates.scores, penaltyWhere(scope, stops));
  const top = op.topK(scope, open, op.unsqueeze(scope, context.parameters.numBeams, [0]));
  const column = <T extends ElementType>(x: Value<T>) =>
    op.reshape(scope, op.gatherElements(scope, x, top.indices, 1), [-1, 1]);
  return {
    runningScores: top.values,
    sources: op.squeeze(scope, column(sources), [1]),
    tokenIds: column(candidates.tokenIds),
    logprobs: column(candidates.logprobs),
  };
}

type Best = Omit<BeamState, 'runningScores' | 'improvable' | 'done'>;

/** Merges what has just finished into the best sequences. Only the first `num_beams` candidates count as finished. */
function updateBest(
  scope: Scope,
  step: {
    readonly candidates: Candidates;
    readonly stops: Value<'bool'>;
    readonly sources: Value<'int64'>;
    readonly newCount: Value<'int64'>;
    readonly running: { readonly tokenIds: Value<'int64'>; readonly tokenLogprobs: Value<'float32'> };
  },
  state: BeamState,
  context: BeamContext,
): Best {
  const { parameters, rowCount } = context;
  const { candidates, sources, running } = step;
  const rank = op.range(
    scope,
    int64(scope, 0),
    op.squeeze(scope, candidateCount(scope, context), [0]),
    int64(scope, 1),
  );
  const finished = op.and(scope, step.stops, op.less(scope, rank, parameters.numBeams));
  const penalisedScores = op.div(scope, candidates.scores, lengthPower(scope, step.newCount, parameters));
  const full = op.and(scope, allTrue(scope, state.bestFinished), stopsEarly(scope, parameters)); // [rows, 1]
  const blocked = op.or(scope, op.not(scope, finished), op.or(scope, full, op.not(scope, state.improvable)));
  const scores = op.concat(scope, [state.bestScores, op.add(scope, penalisedScores, penaltyWhere(scope, blocked))], 1);
  const top = op.topK(scope, scores, op.unsqueeze(scope, parameters.numBeams, [0]));
  const pad = <T extends ElementType>(fill: Value<T>, best: Value<T>) =>
    op.concat(scope, [best, op.expand(scope, fill, [rowCount, op.dimension(scope, best, 1), 1])], 2);
  const grown = <T extends ElementType>(tokens: Value<T>, last: Value<T>) =>
    op.concat(scope, [op.gather(scope, tokens, sources, 0), op.unsqueeze(scope, last, [2])], 2); // [rows, candidates, length + 1]
  const oldIds = pad(int64(scope, context.padTokenId), state.bestTokenIds);
  const oldLogprobs = pad(float32(scope, 0), state.bestTokenLogprobs);
  const newEnds = op.expand(scope, op.dimension(scope, oldIds, 2), [
    rowCount,
    op.dimension(scope, candidates.scores, 1),
  ]);
  const merge = <T extends ElementType>(old: Value<T>, added: Value<T>) =>
    op.gatherElements(scope, op.concat(scope, [old, added], 1), top.indices, 1);
  const unlessDone = <T extends 'int64' | 'float32'>(old: Value<T>, now: Value<T>) =>
    op.where(scope, state.done, old, now);
  const mergeSequences = <T extends 'int64' | 'float32'>(old: Value<T>, added: Value<T>) => {
    const indices = op.expand(scope, op.unsqueeze(scope, top.indices, [2]), [1, 1, op.dimension(scope, old, 2)]);
    const merged = op.gatherElements(scope, op.concat(scope, [old, added], 1), indices, 1);
    return op.where(scope, op.unsqueeze(scope, state.done, [2]), old, merged);
  };
  return {
    bestTokenIds: mergeSequences(oldIds, grown(running.tokenIds, candidates.tokenIds)),
    bestTokenLogprobs: mergeSequences(oldLogprobs, grown(running.tokenLogprobs, candidates.logprobs)),
    bestEnds: unlessDone(state.bestEnds, merge(state.bestEnds, newEnds)),
    bestScores: unlessDone(state.bestScores, top.values),
    bestFinished: merge(state.bestFinished, finished), // read only while the search goes on
  };
}

/** `_check_early_stop_heuristic`: [rows, 1]. */
function stillImprovable(
  scope: Scope,
  runningScores: Value<'float32'>,
  best: Best,
  state: BeamState,
  context: BeamContext,
  newCount: Value<'int64'>,
): Value<'bool'> {
  const { parameters, maxNewTokens } = context;
  const never = op.equal(scope, parameters.earlyStopping, int64(scope, earlyStopping.never));
  const favoursLength = op.greater(scope, parameters.lengthPenalty, float32(scope, 0));
  const length = op.where(scope, op.and(scope, never, favoursLength), maxNewTokens, newCount); // [rows, 1]
  const leading = op.gather(scope, runningScores, int64s(scope, [0]), 1); // [rows, 1]
  const bestPossible = op.div(scope, leading, lengthPower(scope, length, parameters));
  const worst = op.reduceMin(scope, best.bestScores, 1, true); // [rows, 1]
  const worstFinished = op.where(scope, best.bestFinished, worst, float32(scope, VERY_LOW)); // [rows, beams]
  return op.and(scope, state.improvable, anyTrue(scope, op.greater(scope, bestPossible, worstFinished)));
}

/** `_beam_search_has_unfinished_sequences`, for each row alone: [rows, 1]. */
function searchIsOver(
  scope: Scope,
  now: { readonly bestFinished: Value<'bool'>; readonly improvable: Value<'bool'>; readonly stops: Value<'bool'> },
  state: BeamState,
  context: BeamContext,
): Value<'bool'> {
  const full = op.and(scope, allTrue(scope, now.bestFinished), stopsEarly(scope, context.parameters));
  const stuck = allTrue(scope, now.stops);
  return op.or(scope, state.done, op.or(scope, op.not(scope, now.improvable), op.or(scope, full, stuck)));
}

function stopsEarly(scope: Scope, parameters: GenerationParameters): Value<'bool'> {
  return op.equal(scope, parameters.earlyStopping, int64(scope, earlyStopping.true));
}

/** `length ** length_penalty`. */
export function lengthPower(scope: Scope, length: Value<'int64'>, parameters: GenerationParameters): Value<'float32'> {
  return op.pow(scope, op.cast(scope, length, 'float32', elementTypeNumbers.float32), parameters.lengthPenalty);
}

function penaltyWhere(scope: Scope, condition: Value<'bool'>): Value<'float32'> {
  return op.where(scope, condition, float32(scope, VERY_LOW), float32(scope, 0));
}

/** Over the last axis, which stays with size 1. */
export function anyTrue(scope: Scope, x: Value<'bool'>): Value<'bool'> {
  const numbers = op.cast(scope, x, 'int32', elementTypeNumbers.int32);
  return op.cast(scope, op.reduceMax(scope, numbers, -1, true), 'bool', elementTypeNumbers.bool);
}

function allTrue(scope: Scope, x: Value<'bool'>): Value<'bool'> {
  return op.not(scope, anyTrue(scope, op.not(scope, x)));
}
