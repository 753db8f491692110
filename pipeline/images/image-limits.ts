import { HandlerError } from '../../protocol/errors.ts';
import type { ImageFormat } from './formats/image-formats.ts';
import type { ImageShape } from './formats/opened-image.ts';
import { CHANNELS } from './rgb-image.ts';

export interface ImageLimits {
  /** The most pixels (width x height) an image may have; read from its header, before anything is decoded. */
  readonly maxPixels: number;
  /** The longest side that an image may have. */
  readonly maxSide: number;
}

/** The most memory for one image of a format that is decoded whole. */
const MAX_WHOLE_BYTES = 230_000_000;

/** @throws HandlerError `IMAGE_TOO_LARGE` for an image that has too many pixels, or too long a side. */
export function requireSize(shape: ImageShape, format: ImageFormat, limits: ImageLimits): void {
  const { width, height } = shape;
  const maxPixels = Math.min(limits.maxPixels, Math.floor(MAX_WHOLE_BYTES / wholeBytesPerPixel(shape, format)));
  const isTooLong = Math.max(width, height) > limits.maxSide;
  if (!isTooLong && width * height <= maxPixels) return;
  const expected = isTooLong ? `with sides of at most ${limits.maxSide} pixels` : `of at most ${maxPixels} pixels`;
  const kind = shape.isProgressive ? `a progressive ${format.name}` : format.described;
  throw new HandlerError('IMAGE_TOO_LARGE', `Expected ${kind} image ${expected}, got ${width} x ${height}.`);
}

/**
 * Progressive JPEG and interlaced PNG hold about two bytes for each channel until their last pass. Other JPEG and PNG are
 * decoded row by row.
 */
function wholeBytesPerPixel(shape: ImageShape, format: ImageFormat): number {
  const { isProgressive, channels } = shape;
  return shape.bytesPerPixel ?? format.bytesPerPixel ?? (isProgressive ? CHANNELS + 2.2 * channels : 0);
}
