import { join } from 'node:path';
import { isJsonObject, type JsonObject, type JsonSection, readJsonFile } from '../files/json-file.ts';
import {
  inconsistent,
  readBoolean,
  readChannelNumbers,
  readInteger,
  readNumber,
  subsection,
} from '../files/json-section.ts';

import { sizeLimits } from './size-limits.ts';

type Channels = readonly [red: number, green: number, blue: number];

/** How an image is brought to the size of the model, which is square. */
export type Resize =
  /** Both sides at once; the aspect ratio is not kept. */
  | { readonly kind: 'squash'; readonly side: number; readonly interpolation?: 'bilinear' }
  /** The shorter side becomes `shortestEdge`, the other follows in proportion; then the middle is cut out. */
  | {
      readonly kind: 'crop';
      readonly shortestEdge: number;
      readonly side: number;
      /** Bicubic unless it is given. */
      readonly interpolation?: 'bilinear';
      /** Half a pixel before the middle goes to the even neighbour, as in torchvision, and not to the lower one. */
      readonly roundsMiddle?: true;
    };

/** The steps between RGB pixels and `pixel_values`. */
export interface ImageProcessorConfig {
  /** `undefined` where images must have the model's size already. */
  readonly resize: Resize | undefined;
  /** `undefined` where pixel values stay 0 to 255. */
  readonly rescaleFactor: number | undefined;
  readonly normalize: { readonly mean: Channels; readonly standardDeviation: Channels } | undefined;
}

/** `OPENAI_CLIP_MEAN` and `OPENAI_CLIP_STD` of transformers' image_utils.py. */
export const CLIP_MEAN: Channels = [0.48145466, 0.4578275, 0.40821073];
export const CLIP_STANDARD_DEVIATION: Channels = [0.26862954, 0.26130258, 0.27577711];
/** `PIL.Image.Resampling.BICUBIC`. */
const BICUBIC = 3;

/**
 * Reads how the image processor of a checkpoint folder prepares images: from preprocessor_config.json or, as transformers
 * has written it since version 5, from `image_processor` in processor_config.json.
 * @param imageSize of the vision model.
 * @param usualResize what the family does when the file does not say: BLIP squashes, CLIP crops.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` or `CHECKPOINT_FILE_UNREADABLE`.
 */
export function readImageProcessor(
  folder: string,
  imageSize: number,
  usualResize: Resize['kind'],
): ImageProcessorConfig {
  return readImageProcessorConfig(readSection(folder), imageSize, usualResize);
}

function readSection(folder: string): JsonSection | undefined {
  const preprocessor = readJsonFile(join(folder, 'preprocessor_config.json'));
  if (preprocessor !== undefined) return preprocessor;
  const processor = readJsonFile(join(folder, 'processor_config.json'));
  return processor?.values['image_processor'] === undefined ? undefined : subsection(processor, 'image_processor');
}

/**
 * Reads the settings of an image processor. Missing keys, or a missing file, take the defaults of transformers'
 * `BlipImageProcessor` (models/blip/image_processing_blip.py) or `CLIPImageProcessor`, at the size of the vision model.
 * @param usualResize what the family does when the file does not say.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readImageProcessorConfig(
  section: JsonSection | undefined,
  imageSize: number,
  usualResize: Resize['kind'],
): ImageProcessorConfig {
  const file = section ?? { path: 'preprocessor_config.json', values: {} };
  return {
    resize: readBoolean(file, 'do_resize', true) ? readResize(file, imageSize, usualResize) : undefined,
    rescaleFactor: readBoolean(file, 'do_rescale', true) ? readNumber(file, 'rescale_factor', 1 / 255) : undefined,
    normalize: readBoolean(file, 'do_normalize', true)
      ? {
          mean: readChannelNumbers(file, 'image_mean', CLIP_MEAN),
          standardDeviation: readDeviation(file, 'image_std'),
        }
      : undefined,
  };
}

/** Colours are divided by it: none of it may be 0. */
export function readDeviation(file: JsonSection, key: 'image_std' | 'std'): Channels {
  const deviation = readChannelNumbers(file, key, CLIP_STANDARD_DEVIATION);
  if (deviation.every((number) => number !== 0)) return deviation;
  throw inconsistent(file, `${key} to have no 0`, deviation.join(', '));
}

/** The steps for images of another size than the checkpoint's. */
export function resizeTo(imageProcessor: ImageProcessorConfig, side: number): ImageProcessorConfig {
  const { resize } = imageProcessor;
  if (resize === undefined) return imageProcessor;
  return {
    ...imageProcessor,
    resize: resize.kind === 'crop' ? { ...resize, side, shortestEdge: side } : { ...resize, side },
  };
}

function readResize(file: JsonSection, imageSize: number, usualResize: Resize['kind']): Resize {
  const resample = readInteger(file, 'resample', BICUBIC, 0);
  if (resample !== BICUBIC) throw inconsistent(file, `resample ${BICUBIC} (bicubic)`, resample);
  const isCropped = readBoolean(file, 'do_center_crop', usualResize === 'crop');
  const section = readSize(file, imageSize, isCropped);
  if (section.values['shortest_edge'] === undefined) return { kind: 'squash', side: readSides(section, imageSize) };
  if (!isCropped) throw inconsistent(file, 'do_center_crop with a shortest_edge', 'none');
  return readCrop(file, readInteger(section, 'shortest_edge', undefined, 1, sizeLimits.imageSide), imageSize);
}

/** Files of older versions give one number: the shortest edge where they crop, both sides where they do not. */
function readSize(file: JsonSection, imageSize: number, isCropped: boolean): JsonSection {
  const size = file.values['size'] ?? imageSize;
  const values = isJsonObject(size) ? size : sizeObject(size, isCropped ? 'crop' : 'squash');
  return { path: `${file.path}: size`, values };
}

function sizeObject(size: unknown, kind: Resize['kind']): JsonObject {
  return kind === 'crop' ? { shortest_edge: size } : { height: size, width: size };
}

/** Reads `height` and `width`, which must be the model's size. */
function readSides(section: JsonSection, imageSize: number): number {
  const height = readInteger(section, 'height', undefined);
  const width = readInteger(section, 'width', undefined);
  if (height === imageSize && width === imageSize) return imageSize;
  throw inconsistent(section, `${imageSize} x ${imageSize}, the vision model's image_size`, `${height} x ${width}`);
}

function readCrop(file: JsonSection, shortestEdge: number, imageSize: number): Resize {
  const size = file.values['crop_size'] ?? imageSize;
  const values = isJsonObject(size) ? size : sizeObject(size, 'squash');
  const side = readSides({ path: `${file.path}: crop_size`, values }, imageSize);
  if (shortestEdge < side) throw inconsistent(file, `a shortest_edge of at least crop_size ${side}`, shortestEdge);
  return { kind: 'crop', shortestEdge, side };
}
