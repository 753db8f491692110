import { loop } from '../../onnx/control-flow.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import type { GenerationParameters } from './parameters.ts';

/** Logits after the warpers, of the tokens that top_k keeps: most probable first, [sequences, kept]. */
export interface WarpedLogits {
  /** -inf where top_p or min_p leaves a token out. */
  readonly scores: Value<'float32'>;
  readonly tokenIds: Value<'int64'>;
}

/** Added to every probability, so that a draw finds a position when only those of probability zero are left. */
const SMALLEST_PROBABILITY = 1e-30;

/**
 * `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper` and `MinPLogitsWarper`
 * (generation/logits_process.py), in that order.
 * Only the `top_k` best tokens are sorted; all of them when `top_k` is 0.
 * @param scores [sequences, vocabulary].
 * @param minimumCount the number of best tokens that always stay.
 */
export function warpLogits(
  scope: Scope,
  scores: Value<'float32'>,
  parameters: GenerationParameters,
  minimumCount: number,
): WarpedLogits {
  const { op } = scope;
  const vocabularySize = op.dimension(scores, 1);
  const requested = op.unsqueeze(op.max(parameters.topK, minimumCount), [0]);
  const everything = op.equal(parameters.topK, 0);
  const count = op.where(everything, vocabularySize, op.min(requested, vocabularySize));
  const top = op.topK(op.div(scores, parameters.temperature), count);
  const probabilities = op.softmax(top.values);
  const before = op.sub(op.cumulativeSum(probabilities, 1), probabilities); // mass of the more probable tokens
  const rank = op.countTo(count);
  const inNucleus = op.or(op.less(before, parameters.topP), op.less(rank, minimumCount));
  const off = op.greaterOrEqual(parameters.topP, 1);
  const kept = op.where(op.or(inNucleus, off), top.values, Number.NEGATIVE_INFINITY);
  return { scores: withoutImprobable(scope, kept, rank, parameters, minimumCount), tokenIds: top.indices };
}

/**
 * Leaves out the tokens that are less than `min_p` times as probable as the best. The ratio of two probabilities does not
 * depend on the others.
 * @param scores [sequences, kept], best first.
 * @param rank [kept]: 0, 1, 2, …
 */
function withoutImprobable(
  { op }: Scope,
  scores: Value<'float32'>,
  rank: Value<'int64'>,
  parameters: GenerationParameters,
  minimumCount: number,
): Value<'float32'> {
  const best = op.gather(scores, [0], 1); // [sequences, 1]
  const isProbable = op.greaterOrEqual(op.exp(op.sub(scores, best)), parameters.minP);
  return op.where(op.or(isProbable, op.less(rank, minimumCount)), scores, Number.NEGATIVE_INFINITY);
}

/**
 * Draws `draws` different positions from each row's distribution, as `torch.multinomial` without replacement does.
 * @param probabilities [rows, positions].
 * @param uniforms [rows, draws].
 * @returns [rows, draws] positions, in the order in which they were drawn.
 */
export function drawWithoutReplacement(
  scope: Scope,
  probabilities: Value<'float32'>,
  uniforms: Value<'float32'>,
): Value<'int64'> {
  const { op } = scope;
  const drawCount = op.squeeze(op.dimension(uniforms, 1), [0]);
  const rowCount = op.dimension(probabilities, 0);
  const nothing = op.fill('float32', 0, [rowCount, 1]);
  const initial = {
    remaining: op.add(probabilities, SMALLEST_PROBABILITY),
    drawn: op.fill('int64', 0, [rowCount, 0]),
  };
  const { drawn } = loop(scope, initial, (body, draw, state) => {
    const uniform = body.op.unsqueeze(body.op.gather(uniforms, draw, 1), [1]); // [rows, 1]
    const position = drawOne(body, state.remaining, uniform);
    return {
      state: {
        remaining: body.op.scatterElements(state.remaining, position, nothing, 1),
        drawn: body.op.concat([state.drawn, position], 1),
      },
      goOn: body.op.less(body.op.add(draw, 1), drawCount),
    };
  });
  return drawn;
}

/** Inverts the cumulative distribution: the first position where it exceeds `uniform` of the total. [rows, 1]. */
export function drawOne({ op }: Scope, mass: Value<'float32'>, uniform: Value<'float32'>): Value<'int64'> {
  const cumulated = op.cumulativeSum(mass, 1);
  const total = op.gather(cumulated, [-1], 1); // [rows, 1]
  const below = op.lessOrEqual(cumulated, op.mul(uniform, total));
  const position = op.reduceSum(op.cast(below, 'int64'), 1, true);
  const hasMass = op.greater(mass, 0);
  const positions = op.countTo(op.dimension(mass, 1));
  const lastWithMass = op.reduceMax(op.where(hasMass, positions, 0), 1, true);
  return op.min(position, lastWithMass);
}
