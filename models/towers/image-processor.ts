import type { ImageProcessorConfig, Resize } from '../../checkpoint/config/image-processor-config.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import type { Ints } from '../../onnx/operators.ts';
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
  const output =
    resize.kind === 'squash'
      ? resized(scope, resize, image, [1, resize.side, resize.side, CHANNELS])
      : resizeAndCrop(scope, resize, image);
  addOutput(graph, 'resized', output, [1, resize.side, resize.side, CHANNELS]);
  return graph;
}

function resized({ op }: Scope, { interpolation }: Resize, image: Value<'uint8'>, sizes: Ints): Value<'uint8'> {
  return interpolation === 'bilinear' ? op.resizeBilinear(image, sizes) : op.resizeBicubic(image, sizes);
}

function resizeAndCrop(scope: Scope, resize: Extract<Resize, { kind: 'crop' }>, image: Value<'uint8'>): Value<'uint8'> {
  const { op } = scope;
  const size = addInput(op.graph, 'resized_size', 'int64', [4]);
  const start = addInput(op.graph, 'crop_start', 'int64', [2]);
  const end = op.add(start, [resize.side]);
  return op.slice(resized(scope, resize, image, size), start, end, [1, 2]);
}

/**
 * Size and crop that transformers gives an image of that size (`get_resize_output_image_size` and `center_crop` of
 * image_transforms.py), or torchvision, which open_clip uses (`resize` and `center_crop` of transforms/functional.py).
 */
export function cropOf(
  resize: Extract<Resize, { kind: 'crop' }>,
  image: { readonly height: number; readonly width: number },
): { readonly resizedSize: readonly number[]; readonly cropStart: readonly number[] } {
  const shorter = Math.min(image.height, image.width);
  const resizedTo = (side: number) =>
    side === shorter ? resize.shortestEdge : Math.floor((resize.shortestEdge * side) / shorter);
  const [height, width] = [resizedTo(image.height), resizedTo(image.width)];
  const middle = resize.roundsMiddle === true ? nearestEven : Math.floor;
  const cropStart = [height, width].map((side) => middle((side - resize.side) / 2));
  return { resizedSize: [1, height, width, CHANNELS], cropStart };
}

/** Half of a whole number, rounded as Python's `round` does: the half goes to the even one of two neighbours. */
function nearestEven(half: number): number {
  return Number.isInteger(half) ? half : 2 * Math.round(half / 2);
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
