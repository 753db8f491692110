import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import type { Real } from '../../onnx/element-type.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { crossAttentionStates } from '../language-models/bert.ts';
import { linear } from '../layers.ts';
import { child, type GraphOptions, type Module, rootModule } from '../module.ts';
import { rowsByImage } from '../rows-by-image.ts';
import { firstTokens, textEncoder } from '../towers/text-encoder.ts';
import { addImageInputs, visionStates } from '../towers/vision-states.ts';
import { addComparison, type Pairs } from './image-text-pairs.ts';

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

  addComparison(graph, model, {
    similarity,
    texts,
    comparedImages,
    scorePairs: (module, pairs) => scorePairs(module, checkpoint, imageEmbeds, similarity, pairs),
  });
  addOutput(graph, 'image_embeds', projectedImage, ['images', imageTextHiddenSize]);
  addOutput(graph, 'text_embeds', projectedText, ['texts', imageTextHiddenSize]);
  return graph;
}

function unitLength(module: Module, x: Value<Real>, inputSize: number, outputSize: number): Value<'float32'> {
  const { op } = module;
  return op.normalizeL2(op.cast(linear(module, x, inputSize, outputSize), 'float32'));
}

/** ITM: the text encoder reads each text with its image. [pairs, 2] */
function scorePairs(
  model: Module,
  { config: { vision, text } }: BlipCheckpoint,
  imageEmbeds: Value<Real>,
  similarity: Value<'float32'>,
  { imageIndex, ...pairs }: Pairs,
): Value<'float32'> {
  const { op } = model;
  const encoder = child(model, 'text_encoder');
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
  return op.cast(linear(child(model, 'itm_head'), first, text.hiddenSize, 2), 'float32');
}
