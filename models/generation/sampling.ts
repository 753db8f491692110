import { float32, int64, int64s } from '../../onnx/constants.ts';
import { loop } from '../../onnx/control-flow.ts';
import { elementTypeNumbers } from '../../onnx/element-type.ts';
import type { Scope, Value } from '../../onnx/graph.ts';
import * as op from '../../onnx/operators.ts';
import type { GenerationParameters } from './parameters.ts';

/** Tokens that may be drawn, most probable first. */
export interface Candidates {
  /** [sequences, candidates]; -inf where top_p leaves a token out. */
  readonly scores: Value<'float32'>;
  /** [sequences, candidates] */
  readonly tokenIds: Value<'int64'>;
}

/** Added to the probability of what was not drawn yet, so that a draw has somewhere to go when nothing else is left. */
const SMALLEST_PROBABILITY = 1e-30;

/**
 * `TemperatureLogitsWarper`, `TopKLogitsWarper` and `TopPLogitsWarper` (generation/logits_process.py), in that order.
 * Only the `top_k` best tokens are sorted; all of them when `top_k` is 0.
 * @param scores [sequences, vocabulary]. @param minimumCount tokens that always stay.
 */
export function warpLogits(
  scope: Scope,
  scores: Value<'float32'>,
  parameters: GenerationParameters,
  minimumCount: number,
): Candidates {
  const vocabularySize = op.dimension(scope, scores, 1);
  const wanted = op.unsqueeze(scope, op.max(scope, parameters.topK, int64(scope, minimumCount)), [0]);
  const everything = op.equal(scope, parameters.topK, int64(scope, 0));
  const count = op.where(scope, everything, vocabularySize, op.min(scope, wanted, vocabularySize));
  const top = op.topK(scope, op.div(scope, scores, parameters.temperature), count);
  const probabilities = op.softmax(scope, top.values);
  const before = op.sub(scope, op.cumulativeSum(scope, probabilities, 1), probabilities); // mass of the more probable tokens
  const rank = op.range(scope, int64(scope, 0), op.squeeze(scope, count, [0]), int64(scope, 1));
  const inNucleus = op.or(
    scope,
    op.less(scope, before, parameters.topP),
    op.less(scope, rank, int64(scope, minimumCount)),
  );
  const off = op.greaterOrEqual(scope, parameters.topP, float32(scope, 1));
  const kept = op.where(scope, op.or(scope, inNucleus, off), top.values, float32(scope, Number.NEGATIVE_INFINITY));
  return { scores: kept, tokenIds: top.indices };
}

/**
 * Draws `draws` different places from each row's distribution, as `torch.multinomial` without replacement does.
 * @param probabilities [rows, places]. @param uniforms [rows, draws].
 * @returns [rows, draws] places, in the order in which they were drawn.
 */
export function drawWithoutReplacement(
  scope: Scope,
  probabilities: Value<'float32'>,
  uniforms: Value<'float32'>,
): Value<'int64'> {
  const drawCount = op.squeeze(scope, op.dimension(scope, uniforms, 1), [0]);
  const rowCount = op.dimension(scope, probabilities, 0);
  const nothing = op.expand(scope, float32(scope, 0), [rowCount, 1]);
  const initial = {
    remaining: op.add(scope, probabilities, float32(scope, SMALLEST_PROBABILITY)),
    drawn: op.expand(scope, int64(scope, 0), [rowCount, 0]),
  };
  const { drawn } = loop(scope, initial, (body, draw, state) => {
    const uniform = op.unsqueeze(body, op.gather(body, uniforms, draw, 1), [1]); // [rows, 1]
    const place = drawOne(body, state.remaining, uniform);
    return {
      state: {
        remaining: op.scatterElements(body, state.remaining, place, nothing, 1),
        drawn: op.concat(body, [state.drawn, place], 1),
      },
      goOn: op.less(body, op.add(body, draw, int64(body, 1)), drawCount),
    };
  });
  return drawn;
}

/** Inverts the cumulative distribution: the first place whose cumulated mass exceeds `uniform` of the total. [rows, 1]. */
export function drawOne(scope: Scope, mass: Value<'float32'>, uniform: Value<'float32'>): Value<'int64'> {
  const cumulated = op.cumulativeSum(scope, mass, 1);
  const total = op.gather(scope, cumulated, int64s(scope, [-1]), 1); // [rows, 1]
  const below = op.lessOrEqual(scope, cumulated, op.mul(scope, uniform, total));
  const place = op.reduceSum(scope, op.cast(scope, below, 'int64', elementTypeNumbers.int64), 1, true);
  const hasMass = op.greater(scope, mass, float32(scope, 0));
  const places = op.range(
    scope,
    int64(scope, 0),
    op.squeeze(scope, op.dimension(scope, mass, 1), [0]),
    int64(scope, 1),
  );
  const lastWithMass = op.reduceMax(scope, op.where(scope, hasMass, places, int64(scope, 0)), 1, true);
  return op.min(scope, place, lastWithMass);
}
