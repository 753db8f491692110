import { conditional } from '../../onnx/control-flow.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { isEndToken } from './language-model.ts';
import type { GenerationParameters } from './parameters.ts';
import { drawOne, warpLogits } from './sampling.ts';

/** A token for each sequence, with its log-probability under the scores it was chosen from. Both [sequences]. */
interface Choice {
  readonly tokenIds: Value<'int64'>;
  readonly logprobs: Value<'float32'>;
}

/** The state that goes round the loop when sequences do not compete: in greedy search and sampling. */
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
    readonly endTokenIds: readonly [number, ...number[]];
    readonly padTokenId: number;
  },
): SequenceState {
  const { op } = scope;
  const { parameters, generatedCount } = context;
  const choice = conditional<Choice>(
    scope,
    parameters.doSample,
    (branch) => sampleToken(branch, scores, parameters, generatedCount),
    (branch) => bestToken(branch, scores),
  );
  const tokenIds = op.where(state.finished, context.padTokenId, choice.tokenIds);
  const logprobs = op.where(state.finished, 0, choice.logprobs);
  const isEnd = isEndToken(scope, choice.tokenIds, context.endTokenIds);
  const newCount = op.add(generatedCount, 1);
  const isFull = op.greaterOrEqual(newCount, context.maxNewTokens);
  const wasRunning = op.cast(op.not(state.finished), 'int64');
  return {
    tokenIds: op.concat([state.tokenIds, op.unsqueeze(tokenIds, [1])], 1),
    tokenLogprobs: op.concat([state.tokenLogprobs, op.unsqueeze(logprobs, [1])], 1),
    finished: op.or(state.finished, op.or(isEnd, isFull)),
    ends: op.add(state.ends, wasRunning),
  };
}

function bestToken({ op }: Scope, scores: Value<'float32'>): Choice {
  const best = op.topK(scores, [1]);
  const logprobs = op.sub(best.values, op.reduceLogSumExp(scores, 1, true));
  return { tokenIds: op.squeeze(best.indices, [1]), logprobs: op.squeeze(logprobs, [1]) };
}

function sampleToken(
  scope: Scope,
  scores: Value<'float32'>,
  parameters: GenerationParameters,
  step: Value<'int64'>,
): Choice {
  const { op } = scope;
  const warped = warpLogits(scope, scores, parameters, 1);
  const uniform = op.reshape(op.gather(parameters.uniforms, step, 1), [-1, 1]); // [rows * draws, 1]
  const position = drawOne(scope, op.softmax(warped.scores), uniform);
  const logprobs = op.gatherElements(op.logSoftmax(warped.scores), position, 1);
  const tokenIds = op.gatherElements(warped.tokenIds, position, 1);
  return { tokenIds: op.squeeze(tokenIds, [1]), logprobs: op.squeeze(logprobs, [1]) };
}
