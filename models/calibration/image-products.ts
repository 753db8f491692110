import { type BlipCheckpoint, type Checkpoint, isBlip2Retrieval } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import { storageOf } from '../../checkpoint/weights/int8-format.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { addInput, createGraph, type Graph, type Node, type Value } from '../../onnx/graph.ts';
import { crossAttentionStates } from '../language-models/bert.ts';
import { child, rootModule } from '../module.ts';
import { clipImageTower } from '../towers/clip-image.ts';
import { pixelValues } from '../towers/image-processor.ts';
import { qFormerCrossStates } from '../towers/q-former.ts';
import { visionTransformer } from '../towers/vision-transformer.ts';

/** Rows that products of integers read, in a graph that still computes with floats. */
export interface ProductInput {
  /** [rows, width] */
  readonly value: Value<'float32'>;
  /** Names of the matrices that read it: `X.weight`. */
  readonly matrices: readonly string[];
}

/** The module whose cross-attention reads the image. */
const readerOfImage: Readonly<Record<BlipCheckpoint['task'], string>> = {
  captioning: 'text_decoder.bert',
  'question-answering': 'text_encoder',
  retrieval: 'text_encoder',
};

/**
 * The part of a checkpoint of floats that reads an image: its tower, and the keys and values of cross-attention.
 * Input: `images` uint8 [images, size, size, 3]. It has no outputs yet.
 * @returns what the matrices read that an int8 checkpoint stores for products, in the order of the graph.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function imageProducts(
  checkpoint: Checkpoint,
  weights: Weights,
): { readonly graph: Graph; readonly inputs: readonly ProductInput[] } {
  const graph = createGraph('image-products');
  const { imageSize } = checkpoint.config.vision;
  const images = addInput(graph, 'images', 'uint8', ['images', imageSize, imageSize, 3]);
  const model = rootModule(graph, weights);
  const tower = child(model, 'vision_model');
  const pixels = pixelValues(model, images, checkpoint.imageProcessor);
  if (checkpoint.task === 'clip') {
    clipImageTower(tower, checkpoint.config.vision, pixels);
  } else if (checkpoint.task === 'image-text-to-text' || isBlip2Retrieval(checkpoint)) {
    const { vision, qFormer } = checkpoint.config;
    const states = visionTransformer(tower, vision, pixels);
    qFormerCrossStates(child(model, 'qformer'), qFormer, states, imageTokenCount(vision));
  } else {
    const { vision, text } = checkpoint.config;
    const states = visionTransformer(tower, vision, pixels);
    const size = { width: text.encoderHiddenSize, length: imageTokenCount(vision) };
    crossAttentionStates(child(model, readerOfImage[checkpoint.task]), text, states, size);
  }
  return { graph, inputs: productInputs(graph, weights) };
}

function productInputs(graph: Graph, weights: Weights): readonly ProductInput[] {
  const matricesByInput = new Map<string, Set<string>>();
  for (const node of graph.nodes) {
    const matrix = matrixOf(node, weights);
    const [input] = node.inputs;
    if (matrix === undefined || input === undefined) continue;
    const matrices = matricesByInput.get(input) ?? new Set();
    matricesByInput.set(input, matrices.add(matrix));
  }
  return [...matricesByInput].map(([name, matrices]) => {
    const value = { name, elementType: 'float32' } as const;
    return { value, matrices: [...matrices] };
  });
}

/** A node is named by its module; so is the matrix that it multiplies with. */
function matrixOf({ operator, name }: Node, { regions }: Weights): string | undefined {
  if (operator !== 'Gemm') return undefined;
  const matrix = `${name.slice(0, name.lastIndexOf('/'))}.weight`;
  const region = regions.get(matrix);
  return region !== undefined && storageOf(region, matrix) === 'products' ? matrix : undefined;
}
