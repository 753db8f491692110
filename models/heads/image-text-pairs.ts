import { conditional } from '../../onnx/control-flow.ts';
import { addOutput, type Graph, type Value } from '../../onnx/graph.ts';
import { type Module, within } from '../module.ts';
import type { EncoderInputs } from '../towers/text-encoder.ts';

/** The comparison of images with texts, whatever family of models compares them. */

/** The `match_probability` of pairs that were not compared; a probability is never below zero. */
export const NOT_COMPARED = -1;
/** The class of `itm_head` that stands for a match; it has two. */
const MATCH = 1;

/** A text with the image that it is compared with. */
export interface Pairs extends EncoderInputs {
  /** [pairs] */
  readonly imageIndex: Value<'int64'>;
}

export interface Comparison {
  /** [images, texts] */
  readonly similarity: Value<'float32'>;
  readonly texts: EncoderInputs;
  /** How many images ITM compares each text with, the most similar ones: a scalar. */
  readonly comparedImages: Value<'int64'>;
  /** ITM: two scores for each pair, [pairs, 2], written where the module is. */
  readonly scorePairs: (module: Module, pairs: Pairs) => Value<'float32'>;
}

/** Adds the outputs `match_probability`, which only the best pairs have, and `cosine_similarity`. */
export function addComparison(graph: Graph, model: Module, comparison: Comparison): void {
  const { similarity, comparedImages } = comparison;
  const { matchProbability } = conditional(
    model,
    model.op.greater(comparedImages, 0),
    (branch) => ({ matchProbability: compareBest(within(model, branch), comparison) }),
    (branch) => ({ matchProbability: notCompared(within(model, branch), similarity) }),
  );
  addOutput(graph, 'match_probability', matchProbability, ['images', 'texts']);
  addOutput(graph, 'cosine_similarity', similarity, ['images', 'texts']);
}

function notCompared({ op }: Module, similarity: Value<'float32'>): Value<'float32'> {
  const size = [op.dimension(similarity, 0), op.dimension(similarity, 1)];
  return op.fill('float32', NOT_COMPARED, size);
}

/** ITM of each text with its most similar images, all pairs in one batch. */
function compareBest(model: Module, { similarity, texts, comparedImages, scorePairs }: Comparison): Value<'float32'> {
  const { op } = model;
  const count = op.unsqueeze(comparedImages, [0]);
  const { indices } = op.topK(similarity, count, 0); // [compared, texts]: images
  const textCount = op.dimension(similarity, 1);
  const textNumbers = op.countTo(textCount);
  const imageIndex = op.reshape(indices, [-1]); // [pairs]
  const textIndex = op.reshape(op.expand(textNumbers, [count, textCount]), [-1]);
  const scores = scorePairs(model, {
    inputIds: op.gather(texts.inputIds, textIndex, 0),
    textLength: op.gather(texts.textLength, textIndex, 0),
    imageIndex,
  });
  const matching = op.reshape(op.gather(op.softmax(scores), MATCH, 1), [count, textCount]);
  return op.scatterElements(notCompared(model, similarity), indices, matching, 0);
}
