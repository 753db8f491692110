import type { ClipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import type { Real } from '../../onnx/element-type.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { linearWithoutBias } from '../layers.ts';
import { child, type GraphOptions, type Module, pathOf, rootModule, weight } from '../module.ts';
import { clipImageTower } from '../towers/clip-image.ts';
import { clipTextTower } from '../towers/clip-text.ts';
import { encodeInChunks } from '../towers/image-chunks.ts';
import { pixelValues } from '../towers/image-processor.ts';

/**
 * transformers' `CLIPModel.get_image_features` (models/clip/modeling_clip.py), from resized and cropped images.
 *
 * Inputs: `images` uint8 [images, size, size, 3]. Outputs, float32: `image_embeds` [images, projection], of any length,
 * and `normalized_image_embeds`, of unit length.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function clipImageGraph(checkpoint: ClipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { vision, projectionSize } = checkpoint.config;
  const graph = createGraph('clip-image');
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const model = rootModule(graph, weights, options);
  const embeds = encodeInChunks(model, images, vision, [projectionSize], (module, some) => {
    const pixels = pixelValues(module, some, checkpoint.imageProcessor);
    const pooled = clipImageTower(child(module, 'vision_model'), vision, pixels);
    return project(child(module, 'visual_projection'), pooled, vision.hiddenSize, projectionSize);
  });
  addEmbeds(model, 'image', embeds, projectionSize);
  return graph;
}

/**
 * transformers' `CLIPModel.get_text_features`.
 *
 * Inputs: `input_ids` int64 [texts, length], padded on the right with any token; `end_position` int64 [texts], the
 * position of the token that stands for the text. Outputs, float32: `text_embeds` and `normalized_text_embeds` [texts,
 * projection].
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function clipTextGraph(checkpoint: ClipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { text, projectionSize } = checkpoint.config;
  const graph = createGraph('clip-text');
  const inputIds = addInput(graph, 'input_ids', 'int64', ['texts', 'length']);
  const endPosition = addInput(graph, 'end_position', 'int64', ['texts']);
  const model = rootModule(graph, weights, options);
  const pooled = clipTextTower(child(model, 'text_model'), text, { inputIds, endPosition });
  const embeds = project(child(model, 'text_projection'), pooled, text.hiddenSize, projectionSize);
  addEmbeds(model, 'text', embeds, projectionSize);
  return graph;
}

/**
 * How similar queries and candidates are, as `CLIPModel` computes `logits_per_image` and their softmax. It computes in
 * float32 whatever the precision of the embeddings was, because it has one weight and little to do.
 *
 * Inputs: `queries` [queries, projection] and `candidates` [candidates, projection], of unit length. Outputs:
 * `cosine_similarity` and `probability` [queries, candidates]; the probabilities of each query sum to 1.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
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

/** From the width of a tower to that of the embeddings. open_clip's files have the matrix transposed. */
function project(module: Module, pooled: Value<Real>, inputSize: number, outputSize: number): Value<Real> {
  const transposed = 'transposed_weight';
  if (!module.weights.regions.has(pathOf(module, transposed)))
    return linearWithoutBias(module, pooled, inputSize, outputSize);
  return module.op.matrixProduct(pooled, weight(module, transposed, [inputSize, outputSize]));
}

function addEmbeds({ op }: Module, kind: 'image' | 'text', embeds: Value<Real>, size: number): void {
  const wide = op.cast(embeds, 'float32');
  const shape = [`${kind}s`, size];
  addOutput(op.graph, `${kind}_embeds`, wide, shape);
  addOutput(op.graph, `normalized_${kind}_embeds`, op.normalizeL2(wide), shape);
}
