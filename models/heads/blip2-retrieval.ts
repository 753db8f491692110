import type { Blip2RetrievalConfig } from '../../checkpoint/config/blip2-config.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import type { Real } from '../../onnx/element-type.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { linear } from '../layers.ts';
import { child, type GraphOptions, type Module, rootModule } from '../module.ts';
import { orderedRows, rowsByImage } from '../rows-by-image.ts';
import {
  type QFormerCrossStates,
  qFormer,
  qFormerCrossStates,
  queryEmbeddings,
  wordEmbeddings,
} from '../towers/q-former.ts';
import type { EncoderInputs } from '../towers/text-encoder.ts';
import { addImageInputs, type ImageSettings, visionStates } from '../towers/vision-states.ts';
import { addComparison, type Pairs } from './image-text-pairs.ts';

/** The settings of a checkpoint of `Blip2ForImageTextRetrieval`. */
export interface Blip2PairSettings extends ImageSettings {
  readonly config: Blip2RetrievalConfig;
}

/**
 * transformers' `Blip2ForImageTextRetrieval` (models/blip_2/modeling_blip_2.py) with both heads as one graph. ITC compares
 * each query vector of an image with a text, and the best one counts. ITM averages the scores of all query vectors.
 *
 * Inputs: as of BLIP's retrieval (retrieval.ts). Outputs as well, but that an image has several embeddings: `image_embeds`
 * is [images, queries, length].
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function blip2RetrievalGraph(settings: Blip2PairSettings, weights: Weights, options: GraphOptions = {}): Graph {
  const { vision, qFormer: sizes, queryCount, imageTextHiddenSize } = settings.config;
  const graph = createGraph('retrieval');
  const model = rootModule(graph, weights, options);
  const images = addImageInputs(graph, settings, model.form);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['texts', 'length']);
  const textLength = addInput(graph, 'text_length', 'int64', ['texts']);
  const comparedImages = addInput(graph, 'compared_images', 'int64', []);

  const { op } = model;
  const states = visionStates(model, settings, images);
  const cross = qFormerCrossStates(child(model, 'qformer'), sizes, states.rows, imageTokenCount(vision));
  const projectedImages = embedImages(model, settings.config, cross, states.imageCount); // [images * queries, length]
  const texts = { inputIds, textLength };
  const projectedTexts = embedTexts(model, settings.config, texts); // [texts, length]
  const ofQueries = op.reshape(op.gemm(projectedImages, projectedTexts), [states.imageCount, queryCount, -1]);
  addComparison(graph, model, {
    similarity: op.reduceMax(ofQueries, 1),
    texts,
    comparedImages,
    scorePairs: (module, pairs) => scorePairs(module, settings.config, cross, states.imageCount, pairs),
  });
  const imageEmbeds = op.reshape(projectedImages, [states.imageCount, queryCount, imageTextHiddenSize]);
  addOutput(graph, 'image_embeds', imageEmbeds, ['images', queryCount, imageTextHiddenSize]);
  addOutput(graph, 'text_embeds', projectedTexts, ['texts', imageTextHiddenSize]);
  return graph;
}

function unitLength(module: Module, x: Value<Real>, { qFormer, imageTextHiddenSize }: Blip2RetrievalConfig) {
  const { op } = module;
  return op.normalizeL2(op.cast(linear(module, x, qFormer.hiddenSize, imageTextHiddenSize), 'float32'));
}

/** The embeddings of an image are its query vectors, which have seen no text. */
function embedImages(
  model: Module,
  config: Blip2RetrievalConfig,
  cross: QFormerCrossStates,
  imageCount: Value<'int64'>,
): Value<'float32'> {
  const { qFormer: sizes, queryCount } = config;
  const module = child(model, 'qformer');
  const queries = qFormer(module, sizes, {
    embeddings: queryEmbeddings(model, sizes, queryCount, imageCount),
    norm: child(module, 'layernorm'),
    queryCount,
    image: { cross, rowsByImage: orderedRows(model, imageCount, sizes.hiddenSize) },
  });
  return unitLength(child(model, 'vision_projection'), queries, config);
}

/** The first token of a text stands for it. It sees no image. */
function embedTexts(
  model: Module,
  config: Blip2RetrievalConfig,
  { inputIds, textLength }: EncoderInputs,
): Value<'float32'> {
  const { op } = model;
  const { qFormer: sizes } = config;
  const module = child(model, 'qformer');
  const words = qFormer(module, sizes, {
    embeddings: wordEmbeddings(child(model, 'embeddings'), sizes, inputIds),
    norm: child(module, 'layernorm'),
    queryCount: 0,
    textLength,
  });
  const byText = op.reshape(words, [op.dimension(inputIds, 0), -1, sizes.hiddenSize]);
  return unitLength(child(model, 'text_projection'), op.gather(byText, 0, 1), config);
}

/** ITM: query vectors and words see each other. [pairs, 2] */
function scorePairs(
  model: Module,
  config: Blip2RetrievalConfig,
  cross: QFormerCrossStates,
  imageCount: Value<'int64'>,
  { inputIds, textLength, imageIndex }: Pairs,
): Value<'float32'> {
  const { op } = model;
  const { qFormer: sizes, queryCount } = config;
  const module = child(model, 'qformer');
  const queries = queryEmbeddings(model, sizes, queryCount, op.dimension(imageIndex, 0));
  const read = qFormer(module, sizes, {
    embeddings: op.concat([queries, wordEmbeddings(child(model, 'embeddings'), sizes, inputIds)], 1),
    norm: child(module, 'layernorm'),
    queryCount,
    textLength,
    image: { cross, rowsByImage: rowsByImage(model, imageIndex, imageCount, sizes.hiddenSize) },
  });
  const scores = op.cast(linear(child(model, 'itm_head'), read, sizes.hiddenSize, 2), 'float32');
  const ofPairs = op.reshape(scores, [-1, queryCount, 2]);
  return op.div(op.reduceSum(ofPairs, 1), queryCount);
}
