import { float32, int64, int64s } from '../../onnx/constants.ts';
import { conditional } from '../../onnx/control-flow.ts';
import { elementTypeNumbers } from '../../onnx/element-type.ts';
import type { Scope, Value } from '../../onnx/graph.ts';
import * as op from '../../onnx/operators.ts';
import type { GenerationParameters } from './parameters.ts';

/** What a logits processor knows of the sequences so far. `sequences` = rows * sequences per row. */
export interface ProcessorContext {
  /** [sequences, length]: padding, prompt and generated tokens. */
  readonly tokenIds: Value<'int64'>;
  /** [sequences] */
  readonly paddingLength: Value<'int64'>;
  /** [sequences] */
  readonly minNewTokens: Value<'int64'>;
  /** Tokens generated so far; a scalar. */
  readonly generatedCount: Value<'int64'>;
  readonly parameters: GenerationParameters;
  readonly eosTokenId: number;
}

type Scores = Value<'float32'>;
type Processor = (scope: Scope, scores: Scores, context: ProcessorContext) => Scores;

/**
 * The processors that change scores before a token is chosen, in the order of transformers'
 * `_get_logits_processor` (generation/utils.py). Each costs nothing when its parameter turns it off.
 * @param scores [sequences, vocabulary].
 */
export function processLogits(scope: Scope, scores: Scores, context: ProcessorContext): Scores {
  const { repetitionPenalty, noRepeatNgramSize } = context.parameters;
  const penalised = op.not(scope, op.equal(scope, repetitionPenalty, float32(scope, 1)));
  const withoutRepeats = op.greater(scope, noRepeatNgramSize, int64(scope, 0));
  const tooShort = op.less(scope, context.generatedCount, op.reduceMax(scope, context.minNewTokens, 0));
  const steps: readonly [Value<'bool'>, Processor][] = [
    [penalised, penaliseRepetition],
    [withoutRepeats, banRepeatedNgrams],
    [tooShort, forbidEarlyEnd],
  ];
  // One branch that is mostly not taken, around the three, so that scores are not copied from one to the next.
  const anyActive = op.or(scope, penalised, op.or(scope, withoutRepeats, tooShort));
  const all: Processor = (branch, unprocessed) =>
    steps.reduce(
      (current, [condition, processor]) => when(branch, condition, current, processor, context),
      unprocessed,
    );
  return when(scope, anyActive, scores, all, context);
}

function when(
  scope: Scope,
  condition: Value<'bool'>,
  scores: Scores,
  processor: Processor,
  context: ProcessorContext,
): Scores {
  const { processed } = conditional(
    scope,
    condition,
    (branch) => ({ processed: processor(branch, scores, context) }),
    () => ({ processed: scores }),
  );
  return processed;
}

/** `RepetitionPenaltyLogitsProcessor`. Padding repeats the row's first token, which counts once however often it stands there. */
function penaliseRepetition(scope: Scope, scores: Scores, { tokenIds, parameters }: ProcessorContext): Scores {
  const penalty = parameters.repetitionPenalty;
  const seen = op.gatherElements(scope, scores, tokenIds, 1); // [sequences, length]
  const isNegative = op.less(scope, seen, float32(scope, 0));
  const penalised = op.where(scope, isNegative, op.mul(scope, seen, penalty), op.div(scope, seen, penalty));
  return op.scatterElements(scope, scores, tokenIds, penalised, 1);
}

/**
 * `NoRepeatNGramLogitsProcessor`: a token that would end an n-gram which stands in the sequence already gets -inf.
 * Every window of n - 1 tokens is compared with the last n - 1; the token after an equal window is banned.
 */
function banRepeatedNgrams(
  scope: Scope,
  scores: Scores,
  { tokenIds, paddingLength, parameters }: ProcessorContext,
): Scores {
  const size = parameters.noRepeatNgramSize;
  const length = op.squeeze(scope, op.dimension(scope, tokenIds, 1), [0]);
  const prefixLength = op.sub(scope, size, int64(scope, 1));
  const windowCount = op.max(scope, op.sub(scope, length, prefixLength), int64(scope, 0));
  const starts = indices(scope, windowCount);
  const offsets = indices(scope, prefixLength);
  const places = op.add(scope, op.unsqueeze(scope, starts, [1]), op.unsqueeze(scope, offsets, [0])); // [windows, n - 1]
  const windows = op.gather(scope, tokenIds, places, 1); // [sequences, windows, n - 1]
  const lastPlaces = op.add(scope, windowCount, offsets); // beyond the end only where there are no windows
  const last = op.gather(scope, tokenIds, op.min(scope, lastPlaces, op.sub(scope, length, int64(scope, 1))), 1); // [sequences, n - 1]
  const differs = op.not(scope, op.equal(scope, windows, op.unsqueeze(scope, last, [1])));
  const differences = op.reduceSum(scope, op.cast(scope, differs, 'int64', elementTypeNumbers.int64), 2); // [sequences, windows]
  const startsInside = op.greaterOrEqual(
    scope,
    op.unsqueeze(scope, starts, [0]),
    op.unsqueeze(scope, paddingLength, [1]),
  );
  const repeats = op.and(scope, op.equal(scope, differences, int64(scope, 0)), startsInside);
  const nextTokens = op.gather(scope, tokenIds, op.add(scope, starts, prefixLength), 1); // [sequences, windows]
  const bans = op.where(scope, repeats, float32(scope, Number.NEGATIVE_INFINITY), float32(scope, 0));
  return op.scatterElements(scope, scores, nextTokens, bans, 1, 'add');
}

/** `MinNewTokensLengthLogitsProcessor`: the end token gets -inf in rows that are still too short. */
function forbidEarlyEnd(
  scope: Scope,
  scores: Scores,
  { minNewTokens, generatedCount, eosTokenId }: ProcessorContext,
): Scores {
  const rowCount = op.dimension(scope, scores, 0);
  const eosColumn = op.expand(scope, int64s(scope, [eosTokenId]), [rowCount, 1]); // [sequences, 1]
  const tooShort = op.less(scope, generatedCount, op.unsqueeze(scope, minNewTokens, [1]));
  const eosScores = op.gatherElements(scope, scores, eosColumn, 1);
  const forbidden = op.where(scope, tooShort, float32(scope, Number.NEGATIVE_INFINITY), eosScores);
  return op.scatterElements(scope, scores, eosColumn, forbidden, 1);
}

/** `0, 1, … count - 1`; `count` is a scalar. */
function indices(scope: Scope, count: Value<'int64'>): Value<'int64'> {
  return op.range(scope, int64(scope, 0), count, int64(scope, 1));
}
