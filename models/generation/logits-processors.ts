import type { TokenRules } from '../../checkpoint/config/token-rules.ts';
import { conditional } from '../../onnx/control-flow.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import type { GenerationParameters } from './parameters.ts';
import { applySequenceBias, applyTokenRules } from './token-rules.ts';

/** The sequences so far, as logits processors see them. `sequences` is rows * sequences per row. */
export interface ProcessorContext {
  /** [sequences, length]: padding, prompt and generated tokens. */
  readonly tokenIds: Value<'int64'>;
  /** [sequences] */
  readonly paddingLength: Value<'int64'>;
  /** [sequences] */
  readonly minNewTokens: Value<'int64'>;
  /** [sequences] */
  readonly maxNewTokens: Value<'int64'>;
  /** Tokens generated so far; a scalar. */
  readonly generatedCount: Value<'int64'>;
  /** Those of the checkpoint. */
  readonly rules: TokenRules;
  readonly parameters: GenerationParameters;
  /** Whether sums are written so that they are over something: CUDA has none over a dimension of 0. */
  readonly avoidsEmptySums: boolean;
  readonly endTokenIds: readonly [number, ...number[]];
}

type Scores = Value<'float32'>;
type Processor = (scope: Scope, scores: Scores, context: ProcessorContext) => Scores;

/**
 * The processors that change scores before a token is chosen, in the order of transformers'
 * `_get_logits_processor` (generation/utils.py). Each costs nothing when its parameter turns it off.
 * @param scores [sequences, vocabulary].
 */
export function processLogits(scope: Scope, scores: Scores, context: ProcessorContext): Scores {
  const biased = applySequenceBias(scope, scores, context);
  return applyTokenRules(scope, processByParameters(scope, biased, context), context);
}

function processByParameters(scope: Scope, scores: Scores, context: ProcessorContext): Scores {
  const { op } = scope;
  const { repetitionPenalty, noRepeatNgramSize } = context.parameters;
  const penalised = op.not(op.equal(repetitionPenalty, 1));
  const withoutRepeats = op.greater(noRepeatNgramSize, 0);
  const tooShort = op.less(context.generatedCount, op.reduceMax(context.minNewTokens, 0));
  const steps: readonly [Value<'bool'>, Processor][] = [
    [penalised, penaliseRepetition],
    [withoutRepeats, banRepeatedNgrams],
    [tooShort, forbidEarlyEnd],
  ];
  // One branch around the three, because it is mostly not taken, and each branch of its own would copy the scores.
  const anyActive = op.or(penalised, op.or(withoutRepeats, tooShort));
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

/** `RepetitionPenaltyLogitsProcessor`. Padding repeats the row's first token, and a token counts once however frequent. */
function penaliseRepetition({ op }: Scope, scores: Scores, { tokenIds, parameters }: ProcessorContext): Scores {
  const penalty = parameters.repetitionPenalty;
  const seen = op.gatherElements(scores, tokenIds, 1); // [sequences, length]
  const isNegative = op.less(seen, 0);
  const penalised = op.where(isNegative, op.mul(seen, penalty), op.div(seen, penalty));
  return op.scatterElements(scores, tokenIds, penalised, 1);
}

/**
 * `NoRepeatNGramLogitsProcessor`: a token that would complete an n-gram that the sequence has already gets -inf.
 * Every window of n - 1 tokens is compared with the last n - 1, and the token after an equal window is banned.
 */
function banRepeatedNgrams(
  { op }: Scope,
  scores: Scores,
  { tokenIds, paddingLength, parameters, avoidsEmptySums }: ProcessorContext,
): Scores {
  const size = parameters.noRepeatNgramSize;
  const length = op.squeeze(op.dimension(tokenIds, 1), [0]);
  const prefixLength = op.sub(size, 1);
  const windowCount = op.max(op.sub(length, prefixLength), 0);
  const starts = op.range(0, windowCount);
  const offsets = op.range(0, prefixLength);
  const positions = op.add(op.unsqueeze(starts, [1]), op.unsqueeze(offsets, [0])); // [windows, n - 1]
  const windows = op.gather(tokenIds, positions, 1); // [sequences, windows, n - 1]
  const lastPositions = op.add(windowCount, offsets);
  // Without windows these positions lie beyond the end, and there may be no token at all: they read `none`.
  const none = op.fill('int64', 0, [op.dimension(tokenIds, 0), 1]);
  const last = op.gather(op.concat([tokenIds, none], 1), op.min(lastPositions, length), 1); // [sequences, n - 1]
  const differs = op.not(op.equal(windows, op.unsqueeze(last, [1])));
  const counts = op.cast(differs, 'int64');
  const differences = op.reduceSum(avoidsEmptySums ? withZero({ op }, counts) : counts, 2); // [sequences, windows]
  const startsInside = op.greaterOrEqual(op.unsqueeze(starts, [0]), op.unsqueeze(paddingLength, [1]));
  const repeats = op.and(op.equal(differences, 0), startsInside);
  const nextTokens = op.gather(tokenIds, op.add(starts, prefixLength), 1); // [sequences, windows]
  const bans = op.where(repeats, op.constant('float32', Number.NEGATIVE_INFINITY), 0);
  return op.scatterElements(scores, nextTokens, bans, 1, 'add');
}

/** [a, b, c] → [a, b, c + 1] */
function withZero({ op }: Scope, counts: Value<'int64'>): Value<'int64'> {
  return op.concat([counts, op.fill('int64', 0, [op.dimension(counts, 0), op.dimension(counts, 1), 1])], 2);
}

/** `MinNewTokensLengthLogitsProcessor`: the end tokens get -inf in rows that are still too short. */
export function forbidEarlyEnd(
  { op }: Scope,
  scores: Scores,
  {
    minNewTokens,
    generatedCount,
    endTokenIds,
  }: Pick<ProcessorContext, 'minNewTokens' | 'generatedCount' | 'endTokenIds'>,
): Scores {
  const ends = op.expand(op.constant('int64', endTokenIds), [op.dimension(scores, 0), 1]); // [sequences, end tokens]
  const tooShort = op.less(generatedCount, op.unsqueeze(minNewTokens, [1]));
  const forbidden = op.where(tooShort, Number.NEGATIVE_INFINITY, op.gatherElements(scores, ends, 1));
  return op.scatterElements(scores, ends, forbidden, 1);
}
