import { HandlerError } from '../../protocol/errors.ts';
import { decodeCost } from './decode-cost.ts';
import { openBmp } from './formats/bmp-image.ts';
import { describeFile } from './formats/file-kind.ts';
import { openGif } from './formats/gif-image.ts';
import { type FormatKey, type ImageFormat, imageFormats, recognizeFormat } from './formats/image-formats.ts';
import { openAvif, openJpeg, openPng, openWebp } from './formats/libvips-images.ts';
import type { OpenImage } from './formats/opened-image.ts';
import { openTiff } from './formats/tiff-image.ts';
import { type ImageLimits, requireSize } from './image-limits.ts';
import { CHANNELS, type RgbImage } from './rgb-image.ts';
import { readStructure } from './structure/read-structure.ts';

export interface ImageDecodeOptions extends ImageLimits {
  /** Turns the image by its orientation, as transformers' `load_image` does. */
  readonly applyExif: boolean;
}

/** An image within the limits. Only its header was read. */
export interface InspectedImage {
  /** The memory that its pixels will take. */
  readonly decodedBytes: number;
  /** The file, or a copy of its first frame alone. */
  readonly bytes: Uint8Array;
  /** Milliseconds that decoding may take; infinite where the size of the image does not tell. */
  readonly costMs: number;
  /** @throws HandlerError `IMAGE_CORRUPT` when the file is cut off, or is not what its header says. */
  decode(): Promise<RgbImage>;
}

const openers: Readonly<Record<FormatKey, OpenImage>> = {
  jpeg: openJpeg,
  png: openPng,
  webp: openWebp,
  gif: openGif,
  avif: openAvif,
  tiff: openTiff,
  bmp: openBmp,
};

/**
 * Decodes the first frame of an image to RGB. All images are decoded here.
 *
 * As Pillow's `convert("RGB")` does, it drops alpha and keeps the colour under it, repeats grey, and ignores colour
 * profiles. docs/reference/images.md names the differences.
 * @throws HandlerError `IMAGE_UNSUPPORTED`, `IMAGE_TOO_LARGE`, `IMAGE_TOO_COMPLEX` or `IMAGE_CORRUPT`, without the decoder's
 *   own words.
 */
export async function decodeImage(bytes: Uint8Array, options: ImageDecodeOptions): Promise<RgbImage> {
  return await (await inspectImage(bytes, options)).decode();
}

/**
 * Does the first half of `decodeImage`, which does not take the memory of the pixels yet.
 * @throws HandlerError `IMAGE_UNSUPPORTED`, `IMAGE_TOO_LARGE`, `IMAGE_TOO_COMPLEX` or `IMAGE_CORRUPT`.
 */
export async function inspectImage(file: Uint8Array, options: ImageDecodeOptions): Promise<InspectedImage> {
  const { bytes, passes, isUnusual } = readStructure(file);
  const key = recognizeFormat(bytes);
  if (key === undefined) throw unsupported(bytes);
  const format = imageFormats[key];
  const opened = await orCorrupt(format, () => openers[key](bytes));
  if (opened === undefined) throw corrupt(format, new Error(`Expected a ${format.name} header, got another one.`));
  requireSize(opened, format, options);
  return {
    decodedBytes: opened.width * opened.height * (opened.keptBytesPerPixel ?? CHANNELS),
    bytes,
    costMs: isUnusual || opened.isUnusual ? Number.POSITIVE_INFINITY : decodeCost(key, opened, passes),
    decode: () => orCorrupt(format, async () => requirePixels(await opened.decode(options))),
  };
}

/** Everything behind trusts that an image has the pixels that its size says. */
function requirePixels(image: RgbImage): RgbImage {
  const { width, height, data } = image;
  if (data.length === width * height * CHANNELS) return image;
  throw new Error(`Expected ${width} x ${height} pixels of ${CHANNELS} bytes, got ${data.length} bytes.`);
}

async function orCorrupt<Value>(format: ImageFormat, act: () => Promise<Value>): Promise<Value> {
  try {
    return await act();
  } catch (cause) {
    throw cause instanceof HandlerError ? cause : corrupt(format, cause);
  }
}

function unsupported(bytes: Uint8Array): HandlerError {
  const names = Object.values(imageFormats).map(({ name }) => name);
  const expected = `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
  return new HandlerError('IMAGE_UNSUPPORTED', `Expected a ${expected} image, got ${describeFile(bytes)}.`);
}

function corrupt({ name }: ImageFormat, cause: unknown): HandlerError {
  return new HandlerError('IMAGE_CORRUPT', `Expected a whole ${name} image, got one that does not decode.`, { cause });
}
