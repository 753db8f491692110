import type { ImageProcessorConfig, Resize } from '../../checkpoint/config/image-processor-config.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';

const CHANNELS = 3;

/**
 * The first step of transformers' image processors as a graph of its own, because each image has its own size: `image`
 * uint8 [1, height, width, 3] → `resized` uint8 [1, side, side, 3]. Where the image is cropped, `resized_size` int64 [4]
 * and `crop_start` int64 [2] say how (`cropOf`).
 * Matches Pillow's BICUBIC within one grey level (test/models/towers/image-processor.test.ts), with the horizontal pass
 * first. Pillow 13 begins with the vertical pass where the height shrinks more than the width; earlier ones never do.
 */
export function resizeGraph(resize: Resize): Graph {
  const graph = createGraph('resize');
  const scope = createScope(graph, 'image_processor.resize');
  const image = addInput(graph, 'image', 'uint8', [1, 'height', 'width', CHANNELS]);
  const resized =
    resize.kind === 'squash'
      ? scope.op.resizeBicubic(image, [1, resize.side, resize.side, CHANNELS])
      : resizeAndCrop(scope, image, resize.side);
  addOutput(graph, 'resized', resized, [1, resize.side, resize.side, CHANNELS]);
  return graph;
}

function resizeAndCrop({ op }: Scope, image: Value<'uint8'>, side: number): Value<'uint8'> {
  const size = addInput(op.graph, 'resized_size', 'int64', [4]);
  const start = addInput(op.graph, 'crop_start', 'int64', [2]);
  const end = op.add(start, [side]);
  return op.slice(op.resizeBicubic(image, size), start, end, [1, 2]);
}

/**
 * Size and crop that transformers gives an image of that size (`get_resize_output_image_size` and `center_crop` of
 * image_transforms.py).
 */
export function cropOf(
  resize: Extract<Resize, { kind: 'crop' }>,
  image: { readonly height: number; readonly width: number },
): { readonly resizedSize: readonly number[]; readonly cropStart: readonly number[] } {
  const shorter = Math.min(image.height, image.width);
  const resized = (side: number) =>
    side === shorter ? resize.shortestEdge : Math.floor((resize.shortestEdge * side) / shorter);
  const [height, width] = [resized(image.height), resized(image.width)];
  const cropStart = [height, width].map((side) => Math.floor((side - resize.side) / 2));
  return { resizedSize: [1, height, width, CHANNELS], cropStart };
}

/** Rescale and normalise: uint8 [images, height, width, 3] → `pixel_values` float32 [images, 3, height, width]. */
export function pixelValues(parent: Scope, images: Value<'uint8'>, config: ImageProcessorConfig): Value<'float32'> {
  const { op } = createScope(parent.op.graph, 'image_processor');
  let pixels = op.cast(images, 'float32');
  if (config.rescaleFactor !== undefined) pixels = op.mul(pixels, config.rescaleFactor);
  if (config.normalize !== undefined) {
    const centred = op.sub(pixels, config.normalize.mean);
    pixels = op.div(centred, config.normalize.standardDeviation);
  }
  return op.transpose(pixels, [0, 3, 1, 2]);
}
