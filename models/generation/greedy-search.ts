import { collectWhile, conditional } from '../../onnx/control-flow.ts';
import type { ElementType } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { lengthPower } from './beam-search.ts';
import type { GeneratedSequences } from './generated-sequences.ts';
import { type DecodeStep, isEndToken, type LanguageModel, type Prompt } from './language-model.ts';
import { forbidEarlyEnd } from './logits-processors.ts';
import type { GenerationParameters } from './parameters.ts';

/**
 * Greedy search in a loop of its own, for batches that need nothing else: scores alone decide. It writes as little as it can
 * into the loop, because each operator costs a GPU a launch at every token. A row that has ended goes on until all have;
 * what it writes then is cut off behind the loop.
 */

/** Beyond every position. On CPUs Min compares some numbers of 64 bits as if they had 32. */
const NEVER = 2 ** 30;

interface GreedyState<Cache extends object> {
  /** [rows, length, width], then [rows, 1, width] */
  readonly embeddings: DecodeStep<Cache>['embeddings'];
  readonly cache: Cache;
  /** [rows, 1]: 1 until a row has its end token, or as many as it may; then 0. */
  readonly unfinished: Value<'int64'>;
}

/** A token for each row, with its log-probability. Both [rows, 1]; of all steps, [steps, rows, 1]. */
interface Choice {
  readonly tokenIds: Value<'int64'>;
  readonly logprobs: Value<'float32'>;
}

/** Whether a batch needs no more than this: a scalar. */
export function isGreedySearch({ op }: Scope, parameters: GenerationParameters): Value<'bool'> {
  const { numBeams, numReturnSequences, doSample, repetitionPenalty, noRepeatNgramSize } = parameters;
  const oneSequence = op.and(op.equal(numBeams, 1), op.equal(numReturnSequences, 1));
  const unprocessed = op.and(op.equal(repetitionPenalty, 1), op.equal(noRepeatNgramSize, 0));
  return op.and(op.and(oneSequence, op.not(doSample)), unprocessed);
}

/** transformers' `_sample` (generation/utils.py) with `do_sample=False`, of all rows. */
export function greedySearch<Cache extends object>(
  parent: Scope,
  prompt: Prompt,
  parameters: GenerationParameters,
  model: LanguageModel<Cache>,
): GeneratedSequences {
  const scope = createScope(parent.op.graph, 'greedy_search');
  const { op } = scope;
  const rowCount = op.dimension(prompt.paddingLength, 0);
  const promptIds = prompt.inputIds ?? op.fill('int64', 0, [rowCount, 0]);
  const embeddings = prompt.embeddings ?? model.embed(scope, promptIds);
  const initial: GreedyState<Cache> = {
    embeddings,
    cache: model.emptyCache(scope, rowCount),
    unfinished: op.fill('int64', 1, [rowCount, 1]),
  };
  const context = {
    model,
    paddingLength: prompt.paddingLength,
    bounds: lengthBounds(scope, op.dimension(embeddings, 1), parameters),
  };
  const longest = op.reduceMax(parameters.maxNewTokens, 0);
  const choices = collectWhile(scope, initial, longest, (body, state) => greedyStep(body, state, context));
  return cutOff(scope, promptIds, choices, parameters, model);
}

/**
 * The lengths that texts may end at, and have to. The first two values have lengths of the cache as their shapes: the host
 * knows those, so that it need not wait for the GPU to see whether any row is near a bound.
 */
interface LengthBounds {
  /** As long as the prompt and the most tokens that a row must write. */
  readonly shortest: Value<'bool'>;
  /** As long as what the model has read when the first row writes the last token that it may. */
  readonly beforeLimit: Value<'bool'>;
  readonly promptLength: Value<'int64'>;
  /** [rows] */
  readonly minNewTokens: Value<'int64'>;
  /** [rows, 1]: how many tokens are generated before the last that a row may have. */
  readonly beforeLast: Value<'int64'>;
}

function lengthBounds(
  { op }: Scope,
  promptLength: Value<'int64'>,
  { minNewTokens, maxNewTokens }: GenerationParameters,
): LengthBounds {
  const asShape = (length: Value<'int64'>) => op.fill('bool', false, [length]);
  const beforeLast = op.sub(maxNewTokens, [1]);
  return {
    shortest: asShape(op.add(promptLength, op.reduceMax(minNewTokens, 0, true))),
    beforeLimit: asShape(op.add(promptLength, op.reduceMin(beforeLast, 0, true))),
    promptLength,
    minNewTokens,
    beforeLast: op.unsqueeze(beforeLast, [1]),
  };
}

/** Known to every step, besides its state. */
interface GreedyContext<Cache extends object> {
  readonly model: LanguageModel<Cache>;
  /** [rows] */
  readonly paddingLength: Value<'int64'>;
  readonly bounds: LengthBounds;
}

/** The rows' next tokens, and the rows that go on after them: [rows, 1]. */
interface Decision {
  readonly collected: Choice;
  readonly unfinished: Value<'int64'>;
}

function greedyStep<Cache extends object>(body: Scope, state: GreedyState<Cache>, context: GreedyContext<Cache>) {
  const { op } = body;
  const { model, paddingLength } = context;
  const { logits, cache } = model.decode(body, { embeddings: state.embeddings, paddingLength, cache: state.cache });
  const { collected, unfinished } = decide(body, logits, state.unfinished, model.cacheLength(body, cache), context);
  return {
    state: { embeddings: model.embed(body, collected.tokenIds), cache, unfinished },
    goOn: op.cast(op.reduceSum(op.reshape(unfinished, [-1]), 0), 'bool'),
    collected,
  };
}

/** @param length tokens that the model has read: [1]. */
function decide<Cache extends object>(
  body: Scope,
  logits: Value<'float32'>,
  unfinished: Value<'int64'>,
  length: Value<'int64'>,
  { model: { endTokenIds }, bounds }: GreedyContext<Cache>,
): Decision {
  const { op } = body;
  const isTooShort = op.less(length, op.dimension(bounds.shortest, 0));
  const isLast = op.greaterOrEqual(length, op.dimension(bounds.beforeLimit, 0));
  return conditional<Decision>(
    body,
    op.or(isTooShort, isLast),
    (branch) => decideWithinBounds(branch, logits, unfinished, length, { endTokenIds, bounds }),
    (branch) => {
      const collected = best(branch, logits);
      const isEnd = isEndToken(branch, collected.tokenIds, endTokenIds);
      return { collected, unfinished: branch.op.where(isEnd, 0, unfinished) };
    },
  );
}

/** Where some row may not end yet, or has reached its limit. */
function decideWithinBounds(
  branch: Scope,
  logits: Value<'float32'>,
  unfinished: Value<'int64'>,
  length: Value<'int64'>,
  { endTokenIds, bounds }: Pick<LanguageModel<object>, 'endTokenIds'> & { readonly bounds: LengthBounds },
): Decision {
  const { op } = branch;
  const { promptLength, minNewTokens, beforeLast } = bounds;
  const generatedCount = op.sub(length, promptLength);
  const collected = best(branch, forbidEarlyEnd(branch, logits, { generatedCount, minNewTokens, endTokenIds }));
  const isEnd = isEndToken(branch, collected.tokenIds, endTokenIds);
  const stops = op.or(isEnd, op.greaterOrEqual(generatedCount, beforeLast));
  return { collected, unfinished: op.where(stops, 0, unfinished) };
}

/** The best log-probability is that of the best score. */
function best({ op }: Scope, scores: Value<'float32'>): Choice {
  const { values, indices } = op.topK(op.logSoftmax(scores), [1]);
  return { tokenIds: indices, logprobs: values };
}

/** Takes away what rows wrote beyond their end token or their limit. */
function cutOff<Cache extends object>(
  scope: Scope,
  promptIds: Value<'int64'>,
  choices: Choice,
  parameters: GenerationParameters,
  model: LanguageModel<Cache>,
): GeneratedSequences {
  const { op } = scope;
  const byRow = <T extends ElementType>(steps: Value<T>) => op.transpose(op.squeeze(steps, [2]), [1, 0]);
  const [tokenIds, logprobs] = [byRow(choices.tokenIds), byRow(choices.logprobs)]; // [rows, generated]
  const positions = op.unsqueeze(op.indices(tokenIds, 1), [0]); // [1, generated]
  const firstEnd = op.reduceMin(op.where(isEndToken(scope, tokenIds, model.endTokenIds), positions, NEVER), 1); // [rows]
  const count = op.min(op.add(firstEnd, 1), parameters.maxNewTokens);
  const isText = op.less(positions, op.unsqueeze(count, [1]));
  const tokenLogprobs = op.where(isText, logprobs, 0);
  const ofPrompt = op.fill('float32', 0, [op.dimension(promptIds, 0), op.dimension(promptIds, 1)]);
  const scores = op.div(op.reduceSum(tokenLogprobs, 1), lengthPower(scope, count, parameters));
  return {
    tokenIds: op.unsqueeze(op.concat([promptIds, op.where(isText, tokenIds, model.padTokenId)], 1), [1]),
    tokenLogprobs: op.unsqueeze(op.concat([ofPrompt, tokenLogprobs], 1), [1]),
    ends: op.unsqueeze(op.add(count, op.dimension(promptIds, 1)), [1]),
    scores: op.unsqueeze(scores, [1]),
  };
}
