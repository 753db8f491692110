import type { ImageProcessorConfig } from '../../checkpoint/config/image-processor-config.ts';
import { imageTokenCount, type VisionConfig } from '../../checkpoint/config/vision-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import { addInput, addOutput, type Graph, type Value } from '../../onnx/graph.ts';
import { child, type GraphForm, type Module } from '../module.ts';
import { type EncodeImages, encodeInChunks } from './image-chunks.ts';
import { pixelValues } from './image-processor.ts';
import { visionTransformer } from './vision-transformer.ts';

/** The settings of a checkpoint, as far as they are about images. */
export interface ImageSettings {
  readonly config: { readonly vision: VisionConfig };
  readonly imageProcessor: ImageProcessorConfig;
}

/** The input and the output for encodings that are kept from one run to a later one. */
export const KNOWN_VISION_STATES = 'known_vision_states';
export const NEW_VISION_STATES = 'new_vision_states';

/** The images of a run of BLIP: those that are encoded, and those whose encodings are known. */
export interface ImageInputs {
  /** uint8 [new images, size, size, 3] */
  readonly images: Value<'uint8'>;
  /** Absent in the lean form, where all images are encoded. */
  readonly known?: KnownImages;
}

interface KnownImages {
  /** [known images, tokens, width] */
  readonly states: Value<'float32'>;
  /** [images]: the place of each image among the new images, which are counted first, and the known ones. */
  readonly order: Value<'int64'>;
}

/** The size of the encoding of one image: `tokens` vectors of `width`. */
export type EncodingShape = readonly [tokens: number, width: number];

/** That of the vision states. */
function statesShape({ config: { vision } }: ImageSettings): EncodingShape {
  return [imageTokenCount(vision), vision.hiddenSize];
}

/**
 * Adds the inputs `images`, `known_vision_states` and `image_order` to a graph.
 * @param form of the graph's model.
 * @param shape of what is kept of an image: its vision states, unless it is given.
 */
export function addImageInputs(
  graph: Graph,
  settings: ImageSettings,
  form: GraphForm,
  shape: EncodingShape = statesShape(settings),
): ImageInputs {
  const { imageSize } = settings.config.vision;
  const images = addInput(graph, 'images', 'uint8', ['new_images', imageSize, imageSize, 3]);
  if (form === 'lean') return { images };
  const states = addInput(graph, KNOWN_VISION_STATES, 'float32', ['known_images', ...shape]);
  return { images, known: { states, order: addInput(graph, 'image_order', 'int64', ['images']) } };
}

/** The encodings of all images of a run, in the order of the request. */
export interface VisionStates {
  /** [images * tokens, width] */
  readonly rows: Value<Real>;
  /** 1-D of one element. */
  readonly imageCount: Value<'int64'>;
}

/** The vision states of all images, transformers' `image_embeds`. */
export function visionStates(model: Module, settings: ImageSettings, inputs: ImageInputs): VisionStates {
  const encode = (module: Module, images: Value<'uint8'>) => encodeVision(module, settings, images);
  return imageEncodings(model, settings, inputs, statesShape(settings), encode);
}

/** uint8 [images, size, size, 3] → vision states [images * tokens, width]. */
export function encodeVision(
  module: Module,
  { config, imageProcessor }: ImageSettings,
  images: Value<'uint8'>,
): Value<Real> {
  return visionTransformer(child(module, 'vision_model'), config.vision, pixelValues(module, images, imageProcessor));
}

/**
 * Encodes the new images, and adds their encodings to the outputs of the graph as `new_vision_states`.
 * @param shape of the encoding of one image.
 */
export function imageEncodings(
  model: Module,
  { config: { vision } }: ImageSettings,
  { images, known }: ImageInputs,
  shape: EncodingShape,
  encode: EncodeImages,
): VisionStates {
  const { op } = model;
  const encoded = encodeInChunks(model, images, vision, shape, encode);
  const rowsOf = (states: Value<Real>) => op.reshape(states, [-1, shape[1]]);
  if (known === undefined) return { rows: rowsOf(encoded), imageCount: op.dimension(images, 0) };
  addOutput(op.graph, NEW_VISION_STATES, op.cast(encoded, 'float32'), ['new_images', ...shape]);
  const all = op.concat([encoded, op.cast(known.states, model.precision)], 0);
  return { rows: rowsOf(op.gather(all, known.order, 0)), imageCount: op.dimension(known.order, 0) };
}
