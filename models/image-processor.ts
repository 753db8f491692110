import type { ImageProcessorConfig } from '../checkpoint/image-processor-config.ts';
import { float32, float32s, int64s } from '../onnx/constants.ts';
import { elementTypeNumbers } from '../onnx/element-type.ts';
import { addInput, addOutput, createGraph, type Graph, type Scope, type Value } from '../onnx/graph.ts';
import * as op from '../onnx/operators.ts';

const CHANNELS = 3;

/**
 * The first step of transformers' `BlipImageProcessor` as a graph of its own, because each image has its own size:
 * `image` uint8 [1, height, width, 3] → `resized` uint8 [1, size, size, 3]. The aspect ratio is not kept.
 * Matches Pillow's BICUBIC within one grey level (test/models/image-processor.test.ts).
 */
export function resizeGraph(size: { readonly height: number; readonly width: number }): Graph {
  const graph = createGraph('resize');
  const scope = { graph, path: 'image_processor.resize' };
  const image = addInput(graph, 'image', 'uint8', [1, 'height', 'width', CHANNELS]);
  const resized = op.resizeBicubic(scope, image, int64s(scope, [1, size.height, size.width, CHANNELS]));
  addOutput(graph, 'resized', resized, [1, size.height, size.width, CHANNELS]);
  return graph;
}

/** Rescale and normalise: uint8 [images, height, width, 3] → `pixel_values` float32 [images, 3, height, width]. */
export function pixelValues(parent: Scope, images: Value<'uint8'>, config: ImageProcessorConfig): Value<'float32'> {
  const scope = { ...parent, path: 'image_processor' };
  let pixels = op.cast(scope, images, 'float32', elementTypeNumbers.float32);
  if (config.rescaleFactor !== undefined) pixels = op.mul(scope, pixels, float32(scope, config.rescaleFactor));
  if (config.normalize !== undefined) {
    const centred = op.sub(scope, pixels, float32s(scope, config.normalize.mean));
    pixels = op.div(scope, centred, float32s(scope, config.normalize.standardDeviation));
  }
  return op.transpose(scope, pixels, [0, 3, 1, 2]);
}
