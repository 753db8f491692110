import { CheckpointError } from './errors.ts';
import {
  isJsonObject,
  type JsonSection,
  readBoolean,
  readChannelNumbers,
  readInteger,
  readNumber,
} from './json-file.ts';

type Channels = readonly [red: number, green: number, blue: number];

/** What `preprocessor_config.json` says happens between RGB pixels and `pixel_values`. */
export interface ImageProcessorConfig {
  /** `undefined` where the image must already have the model's size. */
  readonly resize: { readonly height: number; readonly width: number } | undefined;
  /** `undefined` where pixel values stay 0 to 255. */
  readonly rescaleFactor: number | undefined;
  readonly normalize: { readonly mean: Channels; readonly standardDeviation: Channels } | undefined;
}

/** OPENAI_CLIP_MEAN and OPENAI_CLIP_STD of transformers' image_utils.py. */
const CLIP_MEAN: Channels = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STANDARD_DEVIATION: Channels = [0.26862954, 0.26130258, 0.27577711];
/** `PIL.Image.Resampling.BICUBIC`. */
const BICUBIC = 3;

/**
 * Reads a BLIP preprocessor_config.json; missing keys, or a missing file, take the defaults of transformers'
 * `BlipImageProcessor` (models/blip/image_processing_blip.py) at the size of the vision model.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readImageProcessorConfig(section: JsonSection | undefined, imageSize: number): ImageProcessorConfig {
  const file = section ?? { path: 'preprocessor_config.json', values: {} };
  return {
    resize: readBoolean(file, 'do_resize', true) ? readSize(file, imageSize) : undefined,
    rescaleFactor: readBoolean(file, 'do_rescale', true) ? readNumber(file, 'rescale_factor', 1 / 255) : undefined,
    normalize: readBoolean(file, 'do_normalize', true)
      ? {
          mean: readChannelNumbers(file, 'image_mean', CLIP_MEAN),
          standardDeviation: readChannelNumbers(file, 'image_std', CLIP_STANDARD_DEVIATION),
        }
      : undefined,
  };
}

function readSize(file: JsonSection, imageSize: number): { height: number; width: number } {
  const resample = readInteger(file, 'resample', BICUBIC, 0);
  if (resample !== BICUBIC) throw mismatch(file, `resample ${BICUBIC} (bicubic)`, String(resample));
  const value = file.values['size'] ?? imageSize;
  const sides = isJsonObject(value) ? value : { height: value, width: value };
  const section = { path: isJsonObject(value) ? `${file.path}: size` : file.path, values: sides };
  const size = {
    height: readInteger(section, 'height', undefined),
    width: readInteger(section, 'width', undefined),
  };
  if (size.height !== imageSize || size.width !== imageSize) {
    throw mismatch(
      file,
      `size ${imageSize} x ${imageSize}, the vision model's image_size`,
      `${size.height} x ${size.width}`,
    );
  }
  return size;
}

function mismatch(file: JsonSection, expected: string, got: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_CONFIG_INVALID', `${file.path}: expected ${expected}, got ${got}.`);
}
