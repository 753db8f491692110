import { float32, int64, int64s } from '../../onnx/constants.ts';
import { conditional } from '../../onnx/control-flow.ts';
import { elementTypeNumbers } from '../../onnx/element-type.ts';
import type { Scope, Value } from '../../onnx/graph.ts';
import * as op from '../../onnx/operators.ts';
import type { GenerationParameters } from './parameters.ts';
import { drawOne, warpLogits } from './sampling.ts';

/** A token for each sequence, with its log-probability under the scores it was chosen from. Both [sequences]. */
interface Choice {
  readonly tokenIds: Value<'int64'>;
  readonly logprobs: Value<'float32'>;
}

/** What goes round the loop when sequences do not compete: greedy search and sampling. */
export interface SequenceState {
  /** [sequences, length] */
  readonly tokenIds: Value<'int64'>;
  /** [sequences, length]; 0 for padding, prompt, and what follows the end token. */
  readonly tokenLogprobs: Value<'float32'>;
  /** [sequences] */
  readonly finished: Value<'bool'>;
  /** [sequences]: length including padding and prompt, up to the end token. */
  readonly ends: Value<'int64'>;
}

/**
 * Greedy search or sampling: transformers' `_sample` (generation/utils.py), one step.
 * @param scores [sequences, vocabulary], after the logits processors.
 * @param maxNewTokens [sequences].
 */
export function chooseNextTokens(
  scope: Scope,
  scores: Value<'float32'>,
  state: SequenceState,
  context: {
    readonly parameters: GenerationParameters;
    readonly generatedCount: Value<'int64'>;
    readonly maxNewTokens: Value<'int64'>;
    readonly eosTokenId: number;
    readonly padTokenId: number;
  },
): SequenceState {
  const { parameters, generatedCount } = context;
  const choice = conditional<Choice>(
    scope,
    parameters.doSample,
    (branch) => sampleToken(branch, scores, parameters, generatedCount),
    (branch) => bestToken(branch, scores),
  );
  const tokenIds = op.where(scope, state.finished, int64(scope, context.padTokenId), choice.tokenIds);
  const logprobs = op.where(scope, state.finished, float32(scope, 0), choice.logprobs);
  const isEnd = op.equal(scope, choice.tokenIds, int64(scope, context.eosTokenId));
  const newCount = op.add(scope, generatedCount, int64(scope, 1));
  const isFull = op.greaterOrEqual(scope, newCount, context.maxNewTokens);
  const wasRunning = op.cast(scope, op.not(scope, state.finished), 'int64', elementTypeNumbers.int64);
  return {
    tokenIds: op.concat(scope, [state.tokenIds, op.unsqueeze(scope, tokenIds, [1])], 1),
    tokenLogprobs: op.concat(scope, [state.tokenLogprobs, op.unsqueeze(scope, logprobs, [1])], 1),
    finished: op.or(scope, state.finished, op.or(scope, isEnd, isFull)),
    ends: op.add(scope, state.ends, wasRunning),
  };
}

function bestToken(scope: Scope, scores: Value<'float32'>): Choice {
  const best = op.topK(scope, scores, int64s(scope, [1]));
  const logprobs = op.sub(scope, best.values, op.reduceLogSumExp(scope, scores, 1, true));
  return { tokenIds: op.squeeze(scope, best.indices, [1]), logprobs: op.squeeze(scope, logprobs, [1]) };
}

function sampleToken(
  scope: Scope,
  scores: Value<'float32'>,
  parameters: GenerationParameters,
  step: Value<'int64'>,
): Choice {
  const candidates = warpLogits(scope, scores, parameters, 1);
  const uniform = op.reshape(scope, op.gather(scope, parameters.uniforms, step, 1), [-1, 1]); // [rows * draws, 1]
  const place = drawOne(scope, op.softmax(scope, candidates.scores), uniform);
  const logprobs = op.gatherElements(scope, op.logSoftmax(scope, candidates.scores), place, 1);
  const tokenIds = op.gatherElements(scope, candidates.tokenIds, place, 1);
  return { tokenIds: op.squeeze(scope, tokenIds, [1]), logprobs: op.squeeze(scope, logprobs, [1]) };
}
