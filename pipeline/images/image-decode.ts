import sharp, { type Metadata, type Sharp } from 'sharp';
import { HandlerError } from '../../protocol/errors.ts';
import { decodeCost } from './decode-cost.ts';
import { readStructure } from './structure/read-structure.ts';

/** Decoded pixels, [height, width, 3], 0 to 255. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export interface ImageDecodeOptions {
  /** The most pixels (width x height) an image may have; read from its header, before anything is decoded. */
  readonly maxPixels: number;
  /** The longest side that an image may have. */
  readonly maxSide: number;
  /** Turns the image by its EXIF orientation, as transformers' `load_image` does. */
  readonly applyExif: boolean;
}

interface Format {
  readonly name: string;
  /** The name that sharp gives it. */
  readonly sharpName: string;
  /** The beginning of its files. A dot is any byte. */
  readonly signature: RegExp;
  /** The most memory that decoding takes for each pixel, for formats that are decoded whole. */
  readonly bytesPerPixel?: number;
}

/** No other format is decoded. Memory: docs/decisions/0012-memory-and-tokens.md. */
const formats: readonly Format[] = [
  { name: 'JPEG', sharpName: 'jpeg', signature: /^\xff\xd8\xff/s },
  { name: 'PNG', sharpName: 'png', signature: /^\x89PNG\r\n/s },
  { name: 'WebP', sharpName: 'webp', signature: /^RIFF....WEBP/s, bytesPerPixel: 8.5 },
  { name: 'GIF', sharpName: 'gif', signature: /^GIF8[79]a/s, bytesPerPixel: 7.5 },
  { name: 'AVIF', sharpName: 'heif', signature: /^....ftypavi[fs]/s, bytesPerPixel: 18.8 },
];
/** Red, green and blue, one byte each. */
const CHANNELS = 3;
/** The most memory for one image of a format that is decoded whole. */
const MAX_WHOLE_BYTES = 230_000_000;
const formatNames = 'JPEG, PNG, WebP, GIF or AVIF';

// Decoded images are large, and none is needed twice.
sharp.cache(false);
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: [
    'VipsForeignLoadJpegBuffer',
    'VipsForeignLoadPngBuffer',
    'VipsForeignLoadWebpBuffer',
    'VipsForeignLoadNsgifBuffer',
    'VipsForeignLoadHeifBuffer',
  ],
});

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

/**
 * Decodes the first frame of an image to RGB. This is the only file that decodes images.
 *
 * As Pillow's `convert("RGB")` does, it drops alpha and keeps the colour under it, repeats grey, and ignores colour
 * profiles. Unlike Pillow, it converts CMYK by a profile, and scales 16-bit grey to 8 bits, which Pillow clips to white.
 * @throws HandlerError `IMAGE_UNSUPPORTED`, `IMAGE_TOO_LARGE`, `IMAGE_TOO_COMPLEX` or `IMAGE_CORRUPT`, without the decoder's own words.
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
  const header = await readHeader(bytes);
  const format = formats.find(({ sharpName }) => sharpName === header.format);
  if (format === undefined) throw unsupported(bytes);
  requireSize(header, format, options);
  return {
    decodedBytes: header.width * frameHeight(header) * CHANNELS,
    bytes,
    costMs: isUnusual ? Number.POSITIVE_INFINITY : decodeCost(format.sharpName, header, passes),
    async decode() {
      try {
        const { data, info } = await pixels(bytes, header, options)
          .raw({ depth: 'uchar' })
          .toBuffer({ resolveWithObject: true });
        return { width: info.width, height: info.height, data };
      } catch (cause) {
        throw corrupt(format, cause);
      }
    },
  };
}

/** The frames of an animation lie one below the other. */
function frameHeight({ height, pageHeight }: Metadata): number {
  return pageHeight ?? height;
}

async function readHeader(bytes: Uint8Array): Promise<Metadata> {
  try {
    return await sharp(bytes, { limitInputPixels: false }).metadata();
  } catch (cause) {
    const start = Buffer.from(bytes.subarray(0, 16)).toString('latin1');
    const format = formats.find(({ signature }) => signature.test(start));
    throw format === undefined ? unsupported(bytes, cause) : corrupt(format, cause);
  }
}

function unsupported(bytes: Uint8Array, cause?: unknown): HandlerError {
  return new HandlerError('IMAGE_UNSUPPORTED', `Expected a ${formatNames} image, got ${describeBytes(bytes)}.`, {
    cause,
  });
}

function corrupt({ name }: Format, cause: unknown): HandlerError {
  return new HandlerError('IMAGE_CORRUPT', `Expected a whole ${name} image, got one that does not decode.`, { cause });
}

function requireSize(header: Metadata, format: Format, options: ImageDecodeOptions): void {
  const { width } = header;
  const height = frameHeight(header);
  const maxPixels = Math.min(options.maxPixels, Math.floor(MAX_WHOLE_BYTES / wholeBytesPerPixel(header, format)));
  const isTooLong = Math.max(width, height) > options.maxSide;
  if (!isTooLong && width * height <= maxPixels) return;
  const expected = isTooLong ? `with sides of at most ${options.maxSide} pixels` : `of at most ${maxPixels} pixels`;
  const kind = header.isProgressive
    ? `a progressive ${format.name}`
    : `${format.name === 'AVIF' ? 'an' : 'a'} ${format.name}`;
  throw new HandlerError('IMAGE_TOO_LARGE', `Expected ${kind} image ${expected}, got ${width} x ${height}.`);
}

/**
 * Progressive JPEG and interlaced PNG hold about two bytes for each channel until their last pass. Other JPEG and PNG are
 * decoded row by row.
 */
function wholeBytesPerPixel({ isProgressive, channels }: Metadata, { bytesPerPixel }: Format): number {
  return bytesPerPixel ?? (isProgressive ? CHANNELS + 2.2 * channels : 0);
}

function pixels(bytes: Uint8Array, header: Metadata, { maxPixels, applyExif }: ImageDecodeOptions): Sharp {
  const image = sharp(bytes, {
    limitInputPixels: maxPixels,
    autoOrient: applyExif,
    ignoreIcc: header.space !== 'cmyk',
  });
  return image.removeAlpha().toColourspace('srgb');
}

/** Describes bytes by their beginning, without quoting them. */
function describeBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'no bytes';
  const start = Buffer.from(bytes.subarray(0, 256)).toString('latin1').trimStart().toLowerCase();
  if (start.startsWith('<!doctype html') || start.startsWith('<html')) return `an HTML page of ${bytes.length} bytes`;
  if (start.startsWith('<svg') || start.startsWith('<?xml')) return `an XML or SVG document of ${bytes.length} bytes`;
  if (start.startsWith('{') || start.startsWith('[')) return `JSON of ${bytes.length} bytes`;
  return `${bytes.length} bytes of another kind`;
}
