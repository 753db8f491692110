import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { conditional } from '../../onnx/control-flow.ts';
import type { Real } from '../../onnx/element-type.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { crossAttentionStates } from '../language-models/bert.ts';
import { linear } from '../layers.ts';
import { child, type GraphOptions, type Module, rootModule, within } from '../module.ts';
import { rowsByImage } from '../rows-by-image.ts';
import { type EncoderInputs, firstTokens, textEncoder } from '../towers/text-encoder.ts';
import { addImageInputs, visionStates } from '../towers/vision-states.ts';

/** The `match_probability` of pairs that were not compared; a probability is never below zero. */
export const NOT_COMPARED = -1;
/** The class of `itm_head` that stands for a match; it has two. */
const MATCH = 1;

/**
 * transformers' `BlipForImageTextRetrieval` (models/blip/modeling_blip.py) with both heads as one graph: ITC compares every
 * image with every text, and ITM, which is better and slower, the best pairs.
 *
 * Inputs: those of images as for captioning; `input_ids` int64 [texts, length], each [CLS], the text and [SEP],
 * padded on the right; `text_length` int64 [texts]; `compared_images` int64 scalar from 0 to the number of images: for
 * each text, how many images, the most similar ones, ITM compares it with.
 *
 * Outputs: `match_probability` [images, texts], -1 for pairs that were not compared; `cosine_similarity` [images,
 * texts]; `image_embeds` [images, length]; `text_embeds` [texts, length], of unit length; `new_vision_states` as for
 * captioning.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function retrievalGraph(checkpoint: BlipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { vision, text, imageTextHiddenSize } = checkpoint.config;
  const graph = createGraph('retrieval');
  const model = rootModule(graph, weights, options);
  const images = addImageInputs(graph, checkpoint, model.form);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['texts', 'length']);
  const textLength = addInput(graph, 'text_length', 'int64', ['texts']);
  const comparedImages = addInput(graph, 'compared_images', 'int64', []);

  const { op } = model;
  const encoder = child(model, 'text_encoder');
  const { rows: imageEmbeds } = visionStates(model, checkpoint, images);
  const imageTokens = op.reshape(imageEmbeds, [-1, imageTokenCount(vision), vision.hiddenSize]);
  const imageClass = op.gather(imageTokens, 0, 1); // [images, width]
  const projectedImage = unitLength(child(model, 'vision_proj'), imageClass, vision.hiddenSize, imageTextHiddenSize);
  const texts = { inputIds, textLength };
  const textClass = firstTokens(encoder, texts, textEncoder(encoder, text, texts), text.hiddenSize);
  const projectedText = unitLength(child(model, 'text_proj'), textClass, text.hiddenSize, imageTextHiddenSize);
  const similarity = op.gemm(projectedImage, projectedText); // [images, texts]

  const { matchProbability } = conditional(
    model,
    op.greater(comparedImages, 0),
    (branch) => ({
      matchProbability: compareBest(within(model, branch), checkpoint, {
        imageEmbeds,
        similarity,
        texts,
        comparedImages,
      }),
    }),
    (branch) => ({ matchProbability: notCompared(within(model, branch), similarity) }),
  );
  addOutput(graph, 'match_probability', matchProbability, ['images', 'texts']);
  addOutput(graph, 'cosine_similarity', similarity, ['images', 'texts']);
  addOutput(graph, 'image_embeds', projectedImage, ['images', imageTextHiddenSize]);
  addOutput(graph, 'text_embeds', projectedText, ['texts', imageTextHiddenSize]);
  return graph;
}

function unitLength(module: Module, x: Value<Real>, inputSize: number, outputSize: number): Value<'float32'> {
  const { op } = module;
  return op.normalizeL2(op.cast(linear(module, x, inputSize, outputSize), 'float32'));
}

function notCompared({ op }: Module, similarity: Value<'float32'>): Value<'float32'> {
  const size = [op.dimension(similarity, 0), op.dimension(similarity, 1)];
  return op.fill('float32', NOT_COMPARED, size);
}

/** ITM of each text with its most similar images, all pairs in one batch. */
function compareBest(
  model: Module,
  checkpoint: BlipCheckpoint,
  inputs: {
    readonly imageEmbeds: Value<Real>;
    readonly similarity: Value<'float32'>;
    readonly texts: EncoderInputs;
    readonly comparedImages: Value<'int64'>;
  },
): Value<'float32'> {
  const { vision, text } = checkpoint.config;
  const { imageEmbeds, similarity, texts, comparedImages } = inputs;
  const { op } = model;
  const encoder = child(model, 'text_encoder');
  const count = op.unsqueeze(comparedImages, [0]);
  const { indices } = op.topK(similarity, count, 0); // [compared, texts]: images
  const textCount = op.dimension(similarity, 1);
  const textNumbers = op.countTo(textCount);
  const imageIndex = op.reshape(indices, [-1]); // [pairs]
  const textIndex = op.reshape(op.expand(textNumbers, [count, textCount]), [-1]);
  const pairs = {
    inputIds: op.gather(texts.inputIds, textIndex, 0),
    textLength: op.gather(texts.textLength, textIndex, 0),
  };
  const hidden = textEncoder(encoder, text, {
    ...pairs,
    image: {
      cross: crossAttentionStates(encoder, text, imageEmbeds, {
        width: text.encoderHiddenSize,
        length: imageTokenCount(vision),
      }),
      rowsByImage: rowsByImage(model, imageIndex, op.dimension(similarity, 0), text.hiddenSize),
    },
  });
  const first = firstTokens(encoder, pairs, hidden, text.hiddenSize);
  const scores = linear(child(model, 'itm_head'), first, text.hiddenSize, 2);
  const classes = op.softmax(op.cast(scores, 'float32')); // [pairs, 2]
  const matching = op.reshape(op.gather(classes, MATCH, 1), [count, textCount]);
  return op.scatterElements(notCompared(model, similarity), indices, matching, 0);
}
