import type { TokenBias, TokenRules } from '../../checkpoint/config/token-rules.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';

/** Logits processors of a checkpoint's own rules about tokens. A rule that is not there adds nothing to the graph. */

type Scores = Value<'float32'>;

/** The sequences so far, as rules see them. */
export interface RuleContext {
  readonly rules: TokenRules;
  /** [sequences, length]: padding, prompt and generated tokens. */
  readonly tokenIds: Value<'int64'>;
  /** [sequences] */
  readonly paddingLength: Value<'int64'>;
  /** [sequences] */
  readonly maxNewTokens: Value<'int64'>;
  /** Tokens generated so far; a scalar. */
  readonly generatedCount: Value<'int64'>;
}

/** `SequenceBiasLogitsProcessor` (transformers' generation/logits_process.py), which comes before all others. */
export function applySequenceBias(scope: Scope, scores: Scores, context: RuleContext): Scores {
  return addBiases(scope, scores, context.rules.sequenceBias, context);
}

/**
 * `NoBadWordsLogitsProcessor`, `ForcedBOSTokenLogitsProcessor`, `ForcedEOSTokenLogitsProcessor`,
 * `SuppressTokensLogitsProcessor` and `SuppressTokensAtBeginLogitsProcessor`, which come last, in that order.
 * @param scores [sequences, vocabulary].
 */
export function applyTokenRules(scope: Scope, scores: Scores, context: RuleContext): Scores {
  const { badWordsIds } = context.rules;
  const bans = badWordsIds.map((tokenIds) => ({ tokenIds, bias: Number.NEGATIVE_INFINITY }));
  const withoutWords = addBiases(scope, scores, bans, context);
  const forced = forceEnd(scope, forceStart(scope, withoutWords, context), context);
  return suppressAtStart(scope, suppress(scope, forced, context), context);
}

/** Each length of sequences is compared with the ends of the texts at once. */
function addBiases(scope: Scope, scores: Scores, biases: readonly TokenBias[], context: RuleContext): Scores {
  const lengths = [...new Set(biases.map(({ tokenIds }) => tokenIds.length))];
  return lengths.reduce((current, length) => {
    const ofLength = biases.filter(({ tokenIds }) => tokenIds.length === length);
    return addBiasesOfLength(scope, current, ofLength, length, context);
  }, scores);
}

function addBiasesOfLength(
  scope: Scope,
  scores: Scores,
  biases: readonly TokenBias[],
  length: number,
  context: RuleContext,
): Scores {
  const { op } = scope;
  const values = op.constant(
    'float32',
    biases.map(({ bias }) => bias),
    [1, biases.length],
  );
  const lastTokens = tokensOfAll(
    scope,
    scores,
    biases.map(({ tokenIds }) => tokenIds.at(-1) ?? 0),
  );
  const starts = biases.map(({ tokenIds }) => tokenIds.slice(0, -1));
  const everywhere = op.expand(values, [op.dimension(scores, 0), 1]);
  const added = length === 1 ? everywhere : op.where(endsWith(scope, starts, length - 1, context), values, 0);
  return op.scatterElements(scores, lastTokens, added, 1, 'add');
}

/** Whether each text, without its padding, ends with each start of a sequence: [sequences, starts]. */
function endsWith(
  scope: Scope,
  starts: readonly (readonly number[])[],
  length: number,
  { tokenIds, paddingLength }: RuleContext,
): Value<'bool'> {
  const { op } = scope;
  const filling = op.fill('int64', -1, [op.dimension(tokenIds, 0), length]);
  const lastPositions = Array.from({ length }, (_, position) => position - length);
  const ends = op.gather(op.concat([filling, tokenIds], 1), lastPositions, 1); // [sequences, length]
  const wanted = op.constant('int64', starts.flat(), [1, starts.length, length]);
  const differs = op.not(op.equal(op.unsqueeze(ends, [1]), wanted));
  const differences = op.reduceSum(op.cast(differs, 'int64'), 2); // [sequences, starts]
  const isLongEnough = op.greaterOrEqual(ownLength(scope, tokenIds, paddingLength), length);
  return op.and(op.equal(differences, 0), isLongEnough);
}

/** [sequences, 1]: tokens of each text, without its padding. */
function ownLength({ op }: Scope, tokenIds: Value<'int64'>, paddingLength: Value<'int64'>): Value<'int64'> {
  return op.sub(op.dimension(tokenIds, 1), op.unsqueeze(paddingLength, [1]));
}

/** [sequences, tokens]: the same tokens for every sequence. */
function tokensOfAll({ op }: Scope, scores: Scores, tokenIds: readonly number[]): Value<'int64'> {
  return op.expand(op.constant('int64', tokenIds, [1, tokenIds.length]), [op.dimension(scores, 0), 1]);
}

function forceStart(scope: Scope, scores: Scores, { rules, tokenIds, paddingLength }: RuleContext): Scores {
  if (rules.forcedBosTokenId === undefined) return scores;
  const isStart = scope.op.equal(ownLength(scope, tokenIds, paddingLength), 1);
  return onlyTokens(scope, scores, [rules.forcedBosTokenId], isStart);
}

function forceEnd(scope: Scope, scores: Scores, { rules, maxNewTokens, generatedCount }: RuleContext): Scores {
  if (rules.forcedEosTokenIds.length === 0) return scores;
  const { op } = scope;
  const isLast = op.equal(op.add(generatedCount, 1), op.unsqueeze(maxNewTokens, [1]));
  return onlyTokens(scope, scores, rules.forcedEosTokenIds, isLast);
}

/** Gives these tokens the score 0, and all others -inf, in the sequences where `condition` [sequences, 1] holds. */
function onlyTokens(scope: Scope, scores: Scores, tokenIds: readonly number[], condition: Value<'bool'>): Scores {
  const { op } = scope;
  const nothing = op.where(condition, Number.NEGATIVE_INFINITY, scores);
  const tokens = tokensOfAll(scope, scores, tokenIds);
  const certain = op.where(condition, 0, op.gatherElements(scores, tokens, 1));
  return op.scatterElements(nothing, tokens, certain, 1);
}

function suppress(scope: Scope, scores: Scores, { rules }: RuleContext): Scores {
  if (rules.suppressTokens.length === 0) return scores;
  const { op } = scope;
  const tokens = tokensOfAll(scope, scores, rules.suppressTokens);
  const lowest = op.fill('float32', Number.NEGATIVE_INFINITY, [op.dimension(scores, 0), rules.suppressTokens.length]);
  return op.scatterElements(scores, tokens, lowest, 1);
}

/** After a prompt of one token, a forced first token comes first, and these do not come second. */
function suppressAtStart(scope: Scope, scores: Scores, context: RuleContext): Scores {
  const { rules, tokenIds, paddingLength, generatedCount } = context;
  if (rules.beginSuppressTokens.length === 0) return scores;
  const { op } = scope;
  const promptLength = op.sub(ownLength(scope, tokenIds, paddingLength), generatedCount);
  const afterForced = op.cast(op.lessOrEqual(promptLength, 1), 'int64');
  const start = rules.forcedBosTokenId === undefined ? op.mul(afterForced, 0) : afterForced;
  const tokens = tokensOfAll(scope, scores, rules.beginSuppressTokens);
  const lowest = op.where(
    op.equal(start, generatedCount),
    Number.NEGATIVE_INFINITY,
    op.gatherElements(scores, tokens, 1),
  );
  return op.scatterElements(scores, tokens, lowest, 1);
}
