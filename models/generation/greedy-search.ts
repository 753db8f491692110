import { conditional, loop } from '../../onnx/control-flow.ts';
import type { Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { lengthPower } from './beam-search.ts';
import type { GeneratedSequences } from './generated-sequences.ts';
import { isEndToken, type LanguageModel, type Prompt } from './language-model.ts';
import { forbidEarlyEnd } from './logits-processors.ts';
import type { GenerationParameters } from './parameters.ts';

/**
 * Greedy search in a loop of its own, for batches that need nothing else: no row has padding, and scores alone decide. It
 * writes as little as it can into the loop, because each operator costs a GPU a launch at every token. A row that has
 * ended goes on until all have; what it writes then is cut off behind the loop.
 */

/** The largest position that a text could have. */
const NEVER = 2 ** 31;

interface GreedyState<Cache extends object> {
  /** [rows, length, width], then [rows, 1, width] */
  readonly embeddings: Parameters<LanguageModel<Cache>['decode']>[1]['embeddings'];
  readonly cache: Cache;
  /** [rows, generated] */
  readonly tokenIds: Value<'int64'>;
  readonly tokenLogprobs: Value<'float32'>;
  /** [rows, 1]: 1 until an end token was chosen, then 0. */
  readonly unfinished: Value<'int64'>;
}

/** Whether a batch needs no more than this: a scalar. */
export function isGreedySearch({ op }: Scope, prompt: Prompt, parameters: GenerationParameters): Value<'bool'> {
  const { numBeams, numReturnSequences, doSample, repetitionPenalty, noRepeatNgramSize } = parameters;
  const oneSequence = op.and(op.equal(numBeams, 1), op.equal(numReturnSequences, 1));
  const unprocessed = op.and(op.equal(repetitionPenalty, 1), op.equal(noRepeatNgramSize, 0));
  const longestPadding = op.reduceMax(prompt.paddingLength, 0);
  return op.and(op.and(oneSequence, op.not(doSample)), op.and(unprocessed, op.equal(longestPadding, 0)));
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
  const initial: GreedyState<Cache> = {
    embeddings: prompt.embeddings ?? model.embed(scope, promptIds),
    cache: model.emptyCache(scope, rowCount),
    tokenIds: op.fill('int64', 0, [rowCount, 0]),
    tokenLogprobs: op.fill('float32', 0, [rowCount, 0]),
    unfinished: op.fill('int64', 1, [rowCount, 1]),
  };
  // As long as the row that must write the most, so that the loop learns it from a shape.
  const shortest = op.fill('bool', false, [op.reduceMax(parameters.minNewTokens, 0, true)]);
  const longest = op.reduceMax(parameters.maxNewTokens, 0);
  const step = (body: Scope, _: Value<'int64'>, state: GreedyState<Cache>) =>
    greedyStep(body, state, { model, shortest, minNewTokens: parameters.minNewTokens });
  const { tokenIds, tokenLogprobs } = loop(scope, initial, step, longest);
  return cutOff(scope, { promptIds, tokenIds, tokenLogprobs }, parameters, model);
}

function greedyStep<Cache extends object>(
  body: Scope,
  state: GreedyState<Cache>,
  context: {
    readonly model: LanguageModel<Cache>;
    readonly shortest: Value<'bool'>;
    readonly minNewTokens: Value<'int64'>;
  },
): { readonly state: GreedyState<Cache>; readonly goOn: Value<'bool'> } {
  const { op } = body;
  const { model } = context;
  const read = model.decode(body, { embeddings: state.embeddings, cache: state.cache });
  const choice = chooseBest(body, read.logits, state, context);
  const isEnd = isEndToken(body, choice.tokenIds, model.endTokenIds);
  const unfinished = op.where(isEnd, 0, state.unfinished);
  const next = {
    embeddings: model.embed(body, choice.tokenIds),
    cache: read.cache,
    tokenIds: op.concat([state.tokenIds, choice.tokenIds], 1),
    tokenLogprobs: op.concat([state.tokenLogprobs, choice.logprobs], 1),
    unfinished,
  };
  return { state: next, goOn: op.cast(op.reduceSum(op.reshape(unfinished, [-1]), 0), 'bool') };
}

/** A token for each row, with its log-probability. Both [rows, 1]. */
interface Choice {
  readonly tokenIds: Value<'int64'>;
  readonly logprobs: Value<'float32'>;
}

/** The branch is decided by shapes, which the host knows, so that it waits for nothing. */
function chooseBest<Cache extends object>(
  body: Scope,
  logits: Value<'float32'>,
  state: GreedyState<Cache>,
  {
    model,
    shortest,
    minNewTokens,
  }: {
    readonly model: LanguageModel<Cache>;
    readonly shortest: Value<'bool'>;
    readonly minNewTokens: Value<'int64'>;
  },
): Choice {
  const { op } = body;
  const count = op.dimension(state.tokenIds, 1);
  const tooShort = op.less(count, op.dimension(shortest, 0)); // [1]
  return conditional<Choice>(
    body,
    tooShort,
    (branch) => best(branch, forbidEarlyEnd(branch, logits, { generatedCount: count, minNewTokens, ...model })),
    (branch) => best(branch, logits),
  );
}

function best({ op }: Scope, scores: Value<'float32'>): Choice {
  const { indices } = op.topK(scores, [1]);
  return { tokenIds: indices, logprobs: op.gatherElements(op.logSoftmax(scores), indices, 1) };
}

/** Takes away what rows wrote beyond their end token or their limit. */
function cutOff<Cache extends object>(
  { op }: Scope,
  written: {
    readonly promptIds: Value<'int64'>;
    readonly tokenIds: Value<'int64'>;
    readonly tokenLogprobs: Value<'float32'>;
  },
  parameters: GenerationParameters,
  model: LanguageModel<Cache>,
): GeneratedSequences {
  const scope = { op };
  const { promptIds } = written;
  const positions = op.unsqueeze(op.indices(written.tokenIds, 1), [0]); // [1, generated]
  const isEnd = isEndToken(scope, written.tokenIds, model.endTokenIds);
  const firstEnd = op.reduceMin(op.where(isEnd, positions, NEVER), 1); // [rows]
  const count = op.min(op.add(firstEnd, 1), parameters.maxNewTokens);
  const isText = op.less(positions, op.unsqueeze(count, [1]));
  const tokenLogprobs = op.where(isText, written.tokenLogprobs, 0);
  const ofPrompt = op.fill('float32', 0, [op.dimension(promptIds, 0), op.dimension(promptIds, 1)]);
  const scores = op.div(op.reduceSum(tokenLogprobs, 1), lengthPower(scope, count, parameters));
  return {
    tokenIds: op.unsqueeze(op.concat([promptIds, op.where(isText, written.tokenIds, model.padTokenId)], 1), [1]),
    tokenLogprobs: op.unsqueeze(op.concat([ofPrompt, tokenLogprobs], 1), [1]),
    ends: op.unsqueeze(op.add(count, op.dimension(promptIds, 1)), [1]),
    scores: op.unsqueeze(scores, [1]),
  };
}
