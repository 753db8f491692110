import type { ClipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { ClipTextConfig } from '../../checkpoint/config/clip-config.ts';
import type { VisionConfig } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { lowestFinite, type Real } from '../../onnx/element-type.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { createScope } from '../../onnx/scope.ts';
import { asRows, layerNorm, linear, linearWithoutBias, preNormLayer } from '../layers.ts';
import { child, type GraphOptions, type Module, rootModule, weight } from '../module.ts';
import { pixelValues } from '../towers/image-processor.ts';
import {
  embedPatches,
  imageTokenCount,
  positionsOf,
  storedTokenCount,
  withClassAndPositions,
} from '../towers/vision-transformer.ts';

/**
 * transformers' `CLIPModel.get_image_features` (models/clip/modeling_clip.py), from resized and cropped images.
 *
 * Inputs: `images` uint8 [images, size, size, 3]. Outputs: `image_embeds` [images, projection], of any length, and
 * `normalized_image_embeds`, of unit length.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function clipImageGraph(checkpoint: ClipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { vision, projectionSize } = checkpoint.config;
  const graph = createGraph('clip-image');
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const model = rootModule(graph, weights, options);
  const module = child(model, 'vision_model');
  const { op } = module;
  const pixels = pixelValues(model, images, checkpoint.imageProcessor);
  const { hiddenSize, layerNormEpsilon } = vision;
  let hidden = embedImage(child(module, 'embeddings'), vision, pixels);
  hidden = layerNorm(child(module, 'pre_layrnorm'), hidden, hiddenSize, layerNormEpsilon); // The checkpoint's spelling.
  hidden = transformer(module, { ...vision, tokenCount: imageTokenCount(vision) }, hidden);
  const tokens = op.reshape(hidden, [-1, imageTokenCount(vision), hiddenSize]);
  const classes = op.gather(tokens, 0, 1);
  const pooled = layerNorm(child(module, 'post_layernorm'), classes, hiddenSize, layerNormEpsilon);
  addEmbeds(graph, 'image', linearWithoutBias(child(model, 'visual_projection'), pooled, hiddenSize, projectionSize));
  return graph;
}

/**
 * transformers' `CLIPModel.get_text_features`.
 *
 * Inputs: `input_ids` int64 [texts, length], padded on the right with any token; `end_position` int64 [texts], the place
 * of the token that stands for the text. Outputs: `text_embeds` and `normalized_text_embeds` [texts, projection].
 * @throws CheckpointError as above.
 */
export function clipTextGraph(checkpoint: ClipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { text, projectionSize } = checkpoint.config;
  const { hiddenSize } = text;
  const graph = createGraph('clip-text');
  const inputIds = addInput(graph, 'input_ids', 'int64', ['texts', 'length']);
  const endPosition = addInput(graph, 'end_position', 'int64', ['texts']);
  const model = rootModule(graph, weights, options);
  const module = child(model, 'text_model');
  const { op } = module;
  const length = op.dimension(inputIds, 1);
  const places = op.countTo(length);
  const embedded = embedText(child(module, 'embeddings'), text, inputIds, places);
  const bias = causalBias(module, places, op.dimension(inputIds, 0));
  const hidden = transformer(module, { ...text, tokenCount: length }, embedded, bias);
  // Only the last token of each text counts: [texts * length, hidden] → [texts, hidden].
  const firsts = op.mul(op.indices(inputIds, 0), length);
  const pooled = op.gather(hidden, op.add(firsts, endPosition), 0);
  const normalized = layerNorm(child(module, 'final_layer_norm'), pooled, hiddenSize, text.layerNormEpsilon);
  addEmbeds(graph, 'text', linearWithoutBias(child(model, 'text_projection'), normalized, hiddenSize, projectionSize));
  return graph;
}

/**
 * How much queries and candidates are alike, as `CLIPModel` computes `logits_per_image` and their softmax.
 *
 * Inputs: `queries` [queries, projection] and `candidates` [candidates, projection], of unit length. Outputs:
 * `cosine_similarity` and `probability` [queries, candidates]; the probabilities of each query sum to 1.
 * @throws CheckpointError as above.
 */
export function clipRankGraph(checkpoint: ClipCheckpoint, weights: Weights): Graph {
  const { projectionSize } = checkpoint.config;
  const graph = createGraph('clip-rank');
  const queries = addInput(graph, 'queries', 'float32', ['queries', projectionSize]);
  const candidates = addInput(graph, 'candidates', 'float32', ['candidates', projectionSize]);
  const model = rootModule(graph, weights);
  const { op } = model;
  const similarity = op.gemm(queries, candidates);
  const scale = op.exp(op.cast(weight(model, 'logit_scale', []), 'float32'));
  addOutput(graph, 'cosine_similarity', similarity, ['queries', 'candidates']);
  addOutput(graph, 'probability', op.softmax(op.mul(similarity, scale)), ['queries', 'candidates']);
  return graph;
}

function addEmbeds(graph: Graph, kind: 'image' | 'text', embeds: Value<Real>): void {
  const { op } = createScope(graph);
  const wide = op.cast(embeds, 'float32');
  addOutput(graph, `${kind}_embeds`, wide);
  addOutput(graph, `normalized_${kind}_embeds`, op.normalizeL2(wide));
}

function embedImage(module: Module, config: VisionConfig, pixels: Value<Real>): Value<Real> {
  const { hiddenSize } = config;
  const tokens = storedTokenCount(config);
  const patches = embedPatches(child(module, 'patch_embedding'), config, pixels, { bias: false });
  const classEmbedding = weight(module, 'class_embedding', [1, 1, hiddenSize], { storedShape: [hiddenSize] });
  const stored = weight(child(module, 'position_embedding'), 'weight', [1, tokens, hiddenSize], {
    storedShape: [tokens, hiddenSize],
  });
  return withClassAndPositions(module, config, patches, classEmbedding, positionsOf(module, config, stored));
}

function embedText(
  module: Module,
  config: ClipTextConfig,
  inputIds: Value<'int64'>,
  places: Value<'int64'>,
): Value<Real> {
  const { op } = module;
  const { hiddenSize, vocabularySize, maxPositions } = config;
  const words = weight(child(module, 'token_embedding'), 'weight', [vocabularySize, hiddenSize]);
  const positions = weight(child(module, 'position_embedding'), 'weight', [maxPositions, hiddenSize]);
  const embedded = op.add(op.gather(words, inputIds, 0), op.gather(positions, places, 0));
  return asRows(module, embedded, hiddenSize);
}

/** [texts, 1, length, length]: the lowest number at later tokens. Tokens after a text's end never reach it. */
function causalBias({ op, precision }: Module, places: Value<'int64'>, textCount: Value<'int64'>): Value<Real> {
  const later = op.greater(op.unsqueeze(places, [0]), op.unsqueeze(places, [1])); // [queries, keys]
  const bias = op.where(later, op.constant(precision, lowestFinite[precision]), 0);
  return op.expand(op.unsqueeze(bias, [0, 1]), [textCount, 1, 1, 1]);
}

type TransformerConfig = Omit<ClipTextConfig, 'vocabularySize' | 'maxPositions' | 'pooling'> & {
  readonly tokenCount: number | Value<'int64'>;
};

/** `CLIPEncoder`. */
function transformer(module: Module, config: TransformerConfig, x: Value<Real>, bias?: Value<Real>): Value<Real> {
  let hidden = x;
  for (let index = 0; index < config.layerCount; index += 1) {
    hidden = preNormLayer(child(module, `encoder.layers.${index}`), config, hidden, (attention, normalized) =>
      selfAttention(attention, config, normalized, bias),
    );
  }
  return hidden;
}

function selfAttention(
  module: Module,
  config: TransformerConfig,
  x: Value<Real>,
  bias: Value<Real> | undefined,
): Value<Real> {
  const { hiddenSize, headCount, tokenCount } = config;
  const { op } = module;
  const shape = op.shape([-1, tokenCount, hiddenSize]);
  const project = (name: string) => op.reshape(linear(child(module, name), x, hiddenSize, hiddenSize), shape);
  const attended = module.op.microsoft.multiHeadAttention(
    {
      query: project('q_proj'),
      key: project('k_proj'),
      value: project('v_proj'),
      ...(bias === undefined ? {} : { bias }),
    },
    headCount,
  );
  return linear(child(module, 'out_proj'), asRows(module, attended, hiddenSize), hiddenSize, hiddenSize);
}
