import type { VisionConfig } from '../../checkpoint/config/vision-config.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import { collect } from '../../onnx/control-flow.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { type Module, within } from '../module.ts';

/**
 * A CPU encodes images fastest while the activations of a layer stay in its cache. Images of fewer tokens are encoded
 * together up to so many; docs/decisions/0035 has the measurements.
 */
const TOKENS_AT_ONCE = 400;

/** Writes the encoding of images: uint8 [images, size, size, 3] → [images, ...shape], or any shape of as many elements. */
export type EncodeImages = (module: Module, images: Value<'uint8'>) => Value<Real>;

/**
 * Encodes images in chunks, one after the other. The plain form has a loop, which also takes no image at all. The lean form
 * encodes all images at once, because a GPU wants few large operators.
 * @param shape of the encoding of one image.
 * @returns [images, ...shape].
 */
export function encodeInChunks(
  module: Module,
  images: Value<'uint8'>,
  vision: VisionConfig,
  shape: readonly number[],
  encode: EncodeImages,
): Value<Real> {
  const { op } = module;
  if (module.form === 'lean') return op.reshape(encode(module, images), [-1, ...shape]);
  const chunk = Math.max(1, Math.floor(TOKENS_AT_ONCE / imageTokenCount(vision)));
  const imageCount = op.dimension(images, 0);
  const chunkCount = op.div(op.add(imageCount, [chunk - 1]), [chunk]);
  const chunks = collect(module, op.squeeze(chunkCount, [0]), [chunk, ...shape], (body, index) => {
    const start = body.op.mul(body.op.unsqueeze(index, [0]), [chunk]);
    const some = body.op.slice(images, start, body.op.add(start, [chunk]), [0]);
    const encoded = body.op.reshape(encode(within(module, body), some), [-1, ...shape]);
    return chunk === 1 ? encoded : filledUp(body, encoded, chunk, shape);
  });
  const encoded = op.reshape(chunks, [-1, ...shape]);
  return chunk === 1 ? encoded : op.slice(encoded, [0], imageCount, [0]);
}

/** [images, ...shape] → [chunk, ...shape]: the last chunk may have fewer images, and a loop collects values of one shape. */
function filledUp({ op }: Scope, encoded: Value<Real>, chunk: number, shape: readonly number[]): Value<Real> {
  const missing = op.sub(op.constant('int64', [chunk]), op.dimension(encoded, 0));
  return op.concat([encoded, op.fill(encoded.elementType, 0, [missing, ...shape])], 0);
}
