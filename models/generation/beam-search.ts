import { conditional } from '../../onnx/control-flow.ts';
import type { ElementType } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { isEndToken } from './language-model.ts';
import { earlyStopping, type GenerationParameters } from './parameters.ts';
import { drawWithoutReplacement, warpLogits } from './sampling.ts';

/** Stands for "cannot win": low enough to lose against any score, high enough to add to. As in transformers. */
const VERY_LOW = -1e9;

/** The state of a search that goes round the loop, besides the running beams' tokens. */
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
  readonly endTokenIds: readonly [number, ...number[]];
  readonly padTokenId: number;
}

/** The running beams' tokens, [rows * beams, length]. */
export interface RunningBeams {
  readonly tokenIds: Value<'int64'>;
  readonly tokenLogprobs: Value<'float32'>;
}

export interface BeamStep extends RunningBeams {
  readonly state: BeamState;
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

/** Candidates kept per beam: one more than there are end tokens, so that enough beams go on when some end. */
export function candidatesPerBeam(endTokenIds: readonly number[]): number {
  return 1 + endTokenIds.length;
}

/**
 * Nothing found yet; only the first beam of each row may grow, because all of them are equal.
 * @param promptIds [rows, length].
 */
export function initialBeamState({ op }: Scope, promptIds: Value<'int64'>, beamCount: Value<'int64'>): BeamState {
  const rowCount = op.dimension(promptIds, 0);
  const perBeam = [rowCount, beamCount] as const;
  const first = op.fill('float32', 0, [rowCount, 1]);
  const others = op.fill('float32', VERY_LOW, [rowCount, op.sub(beamCount, [1])]);
  return {
    runningScores: op.concat([first, others], 1),
    bestTokenIds: op.expand(op.unsqueeze(promptIds, [1]), [1, beamCount, 1]),
    bestTokenLogprobs: op.fill('float32', 0, [...perBeam, op.dimension(promptIds, 1)]),
    bestEnds: op.fill('int64', 0, perBeam),
    bestScores: op.fill('float32', VERY_LOW, perBeam),
    bestFinished: op.fill('bool', false, perBeam),
    improvable: op.fill('bool', true, [rowCount, 1]),
    done: op.fill('bool', false, [rowCount, 1]),
  };
}

/**
 * One step of transformers' vectorised `_beam_search` (generation/utils.py, since 4.50), with `done` for each
 * row, because transformers stops a whole batch at once. The functions below name the methods that they follow.
 * @param scores [rows * beams, vocabulary]: log-probabilities after the logits processors.
 */
export function beamSearchStep(
  scope: Scope,
  scores: Value<'float32'>,
  running: RunningBeams,
  state: BeamState,
  context: BeamContext,
): BeamStep {
  const { op } = scope;
  const candidates = conditional<Candidates>(
    scope,
    context.parameters.doSample,
    (branch) => drawCandidates(branch, scores, state, context),
    (branch) => bestCandidates(branch, scores, state, context),
  );
  const newCount = op.add(context.generatedCount, 1);
  const isFull = op.greaterOrEqual(newCount, context.maxNewTokens);
  const stops = op.or(isEndToken(scope, candidates.tokenIds, context.endTokenIds), isFull); // [rows, candidates]
  const sources = op.add(candidates.beams, context.firstSequence); // [rows, candidates]
  const continued = { candidates, stops, sources, newCount };
  const next = nextRunningBeams(scope, continued, context);
  const best = updateBest(scope, continued, running, state, context);
  const improvable = stillImprovable(scope, next.runningScores, best, state, context, newCount);
  const done = searchIsOver(scope, { ...best, improvable, stops }, state, context);
  return {
    state: { ...best, runningScores: next.runningScores, improvable, done },
    tokenIds: op.concat([op.gather(running.tokenIds, next.sources, 0), next.tokenIds], 1),
    tokenLogprobs: op.concat([op.gather(running.tokenLogprobs, next.sources, 0), next.logprobs], 1),
    sources: next.sources,
  };
}

/** Continuations, and what becomes of each: [rows, candidates]. */
interface Continued {
  readonly candidates: Candidates;
  /** Whether a candidate ends here, by its token or by its length. */
  readonly stops: Value<'bool'>;
  /** The sequence that a candidate continues. */
  readonly sources: Value<'int64'>;
  /** Tokens generated with this one; a scalar. */
  readonly newCount: Value<'int64'>;
}

/** `_get_top_k_continuations` without sampling: the best over all beams of a row. */
function bestCandidates(scope: Scope, scores: Value<'float32'>, state: BeamState, context: BeamContext): Candidates {
  const { op } = scope;
  const vocabularySize = op.dimension(scores, 1);
  const accumulated = op.add(scores, op.reshape(state.runningScores, [-1, 1]));
  const perRow = op.reshape(accumulated, [context.rowCount, -1]); // [rows, beams * vocabulary]
  const top = op.topK(perRow, candidateCount(scope, context));
  return {
    scores: top.values,
    logprobs: op.gatherElements(op.reshape(scores, [context.rowCount, -1]), top.indices, 1),
    tokenIds: op.mod(top.indices, vocabularySize),
    beams: op.div(top.indices, vocabularySize),
  };
}

/** `_get_top_k_continuations` with sampling: drawn without replacement, by the scores accumulated so far. */
function drawCandidates(scope: Scope, scores: Value<'float32'>, state: BeamState, context: BeamContext): Candidates {
  const { op } = scope;
  const { parameters, rowCount, generatedCount } = context;
  const warped = warpLogits(scope, scores, parameters, candidatesPerBeam(context.endTokenIds));
  const perBeam = op.dimension(warped.scores, 1);
  const perRow = (x: Value<'float32'>) => op.reshape(x, [rowCount, -1]); // [rows, beams * kept]
  const accumulated = perRow(op.add(warped.scores, op.reshape(state.runningScores, [-1, 1])));
  const uniforms = op.gather(parameters.uniforms, generatedCount, 1);
  const positions = drawWithoutReplacement(scope, op.softmax(accumulated), uniforms);
  return {
    scores: op.gatherElements(accumulated, positions, 1),
    logprobs: op.gatherElements(perRow(warped.scores), positions, 1),
    tokenIds: op.gatherElements(op.reshape(warped.tokenIds, [rowCount, -1]), positions, 1),
    beams: op.div(positions, perBeam),
  };
}

/** 1-D of one element. */
function candidateCount({ op }: Scope, { parameters, endTokenIds }: BeamContext): Value<'int64'> {
  return op.unsqueeze(op.mul(parameters.numBeams, candidatesPerBeam(endTokenIds)), [0]);
}

/** `_get_running_beams_for_next_iteration`: the best that have not ended. */
function nextRunningBeams(
  scope: Scope,
  { candidates, stops, sources }: Continued,
  context: BeamContext,
): {
  readonly runningScores: Value<'float32'>;
  readonly sources: Value<'int64'>;
  readonly tokenIds: Value<'int64'>;
  readonly logprobs: Value<'float32'>;
} {
  const { op } = scope;
  const open = op.add(candidates.scores, penaltyWhere(scope, stops));
  const top = op.topK(open, op.unsqueeze(context.parameters.numBeams, [0]));
  const column = <T extends ElementType>(x: Value<T>) => op.reshape(op.gatherElements(x, top.indices, 1), [-1, 1]);
  return {
    runningScores: top.values,
    sources: op.squeeze(column(sources), [1]),
    tokenIds: column(candidates.tokenIds),
    logprobs: column(candidates.logprobs),
  };
}

type Best = Omit<BeamState, 'runningScores' | 'improvable' | 'done'>;

/** `_update_finished_beams`: merges what has just finished into the best sequences, unless the row's search is over. */
function updateBest(
  scope: Scope,
  continued: Continued,
  running: RunningBeams,
  state: BeamState,
  context: BeamContext,
): Best {
  const { op } = scope;
  const { candidates, sources } = continued;
  const finished = justFinished(scope, continued, context);
  const scores = op.concat([state.bestScores, finishedScores(scope, continued, finished, state, context)], 1);
  const top = op.topK(scores, op.unsqueeze(context.parameters.numBeams, [0]));
  const merge = <T extends ElementType>(old: Value<T>, added: Value<T>) =>
    op.gatherElements(op.concat([old, added], 1), top.indices, 1);
  const unlessDone = <T extends 'int64' | 'float32'>(old: Value<T>, now: Value<T>) => op.where(state.done, old, now);
  const mergeSequences = <T extends 'int64' | 'float32'>(
    best: Value<T>,
    padding: number,
    runningTokens: Value<T>,
    last: Value<T>,
  ) => {
    const old = padLast(scope, best, padding);
    // [rows, candidates, length + 1]
    const added = op.concat([op.gather(runningTokens, sources, 0), op.unsqueeze(last, [2])], 2);
    const indices = op.expand(op.unsqueeze(top.indices, [2]), [1, 1, op.dimension(old, 2)]);
    const merged = op.gatherElements(op.concat([old, added], 1), indices, 1);
    return op.where(op.unsqueeze(state.done, [2]), old, merged);
  };
  const length = op.add(op.dimension(running.tokenIds, 1), [1]);
  const newEnds = op.expand(length, [context.rowCount, op.dimension(candidates.scores, 1)]);
  return {
    bestTokenIds: mergeSequences(state.bestTokenIds, context.padTokenId, running.tokenIds, candidates.tokenIds),
    bestTokenLogprobs: mergeSequences(state.bestTokenLogprobs, 0, running.tokenLogprobs, candidates.logprobs),
    bestEnds: unlessDone(state.bestEnds, merge(state.bestEnds, newEnds)),
    bestScores: unlessDone(state.bestScores, top.values),
    bestFinished: merge(state.bestFinished, finished), // read only while the search goes on
  };
}

/** Only the first `num_beams` candidates count as finished. */
function justFinished(scope: Scope, { stops }: Continued, context: BeamContext): Value<'bool'> {
  const { op } = scope;
  const rank = op.countTo(candidateCount(scope, context));
  return op.and(stops, op.less(rank, context.parameters.numBeams));
}

/** Scores over a power of the length; very low for what did not finish, or comes too late. [rows, candidates]. */
function finishedScores(
  scope: Scope,
  { candidates, newCount }: Continued,
  finished: Value<'bool'>,
  state: BeamState,
  { parameters }: BeamContext,
): Value<'float32'> {
  const { op } = scope;
  const penalised = op.div(candidates.scores, lengthPower(scope, newCount, parameters));
  const full = op.and(allTrue(scope, state.bestFinished), stopsEarly(scope, parameters)); // [rows, 1]
  const blocked = op.or(op.not(finished), op.or(full, op.not(state.improvable)));
  return op.add(penalised, penaltyWhere(scope, blocked));
}

/** [rows, beams, length] → [rows, beams, length + 1]. */
function padLast<T extends 'int64' | 'float32'>({ op }: Scope, x: Value<T>, padding: number): Value<T> {
  return op.concat([x, op.fill(x.elementType, padding, [op.dimension(x, 0), op.dimension(x, 1), 1])], 2);
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
  const { op } = scope;
  const { parameters, maxNewTokens } = context;
  const never = op.equal(parameters.earlyStopping, earlyStopping.never);
  const favoursLength = op.greater(parameters.lengthPenalty, 0);
  const length = op.where(op.and(never, favoursLength), maxNewTokens, newCount); // [rows, 1]
  const leading = op.gather(runningScores, [0], 1); // [rows, 1]
  const bestPossible = op.div(leading, lengthPower(scope, length, parameters));
  const worst = op.reduceMin(best.bestScores, 1, true); // [rows, 1]
  const worstFinished = op.where(best.bestFinished, worst, VERY_LOW); // [rows, beams]
  return op.and(state.improvable, anyTrue(scope, op.greater(bestPossible, worstFinished)));
}

/** `_beam_search_has_unfinished_sequences`, for each row alone: [rows, 1]. */
function searchIsOver(
  scope: Scope,
  now: { readonly bestFinished: Value<'bool'>; readonly improvable: Value<'bool'>; readonly stops: Value<'bool'> },
  state: BeamState,
  context: BeamContext,
): Value<'bool'> {
  const { op } = scope;
  const full = op.and(allTrue(scope, now.bestFinished), stopsEarly(scope, context.parameters));
  const stuck = allTrue(scope, now.stops);
  return op.or(state.done, op.or(op.not(now.improvable), op.or(full, stuck)));
}

function stopsEarly({ op }: Scope, parameters: GenerationParameters): Value<'bool'> {
  return op.equal(parameters.earlyStopping, earlyStopping.true);
}

/** `length ** length_penalty`. */
export function lengthPower({ op }: Scope, length: Value<'int64'>, parameters: GenerationParameters): Value<'float32'> {
  return op.pow(op.cast(length, 'float32'), parameters.lengthPenalty);
}

function penaltyWhere({ op }: Scope, condition: Value<'bool'>): Value<'float32'> {
  return op.where(condition, op.constant('float32', VERY_LOW), 0);
}

/** Over the last axis, which stays with size 1. */
export function anyTrue({ op }: Scope, x: Value<'bool'>): Value<'bool'> {
  const numbers = op.cast(x, 'int32');
  return op.cast(op.reduceMax(numbers, -1, true), 'bool');
}

function allTrue(scope: Scope, x: Value<'bool'>): Value<'bool'> {
  const { op } = scope;
  return op.not(anyTrue(scope, op.not(x)));
}
