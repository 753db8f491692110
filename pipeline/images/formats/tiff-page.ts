import { HandlerError } from '../../../protocol/errors.ts';
import { type Orientation, readOrientation } from './orientation.ts';
import { readTiffDirectory, type TiffDirectory } from './tiff-directory.ts';
import { type MakeFile, pageFiles } from './tiff-files.ts';
import {
  compressions,
  extraSample,
  isPlainYCbCr,
  numberOf,
  type Page,
  photometric,
  readTags,
  simpleCompressions,
  tag,
  valuesOf,
} from './tiff-tags.ts';

/** The first page of a TIFF file, in a form that libtiff decodes as Pillow does. */
export interface TiffPage {
  /** As stored, before the orientation. */
  readonly width: number;
  readonly height: number;
  readonly orientation: Orientation;
  /** Files of the page alone: one, or one for each plane of samples. JPEG for old-style compression, else TIFF. */
  readonly files: readonly MakeFile[];
  readonly samples: SampleKind;
  /** Whether it is compressed as faxes are (Group 3 or 4). */
  readonly isFax: boolean;
  /** Whether it may hold more work than its size tells. */
  readonly isUnusual: boolean;
  /** The most memory that decoding takes for each pixel of the page. */
  readonly bytesPerPixel: number;
}

/**
 * The kind of the decoder's samples: colours, inks, CIE L*a*b*, YCbCr, bytes of rows of 12-bit grey, or colours that are
 * multiplied by the alpha behind them.
 */
export type SampleKind = 'colours' | 'inks' | 'lab' | 'ycbcr' | 'packed-12' | 'premultiplied';

const faxCompressions: readonly number[] = [2, 3, 4];
/** Compressions that libtiff reads in other builds, or that other programs write. */
const unreadCompressions: ReadonlyMap<number, string> = new Map([
  [34661, 'JBIG'],
  [34712, 'JPEG 2000'],
  [34887, 'LERC'],
  [34925, 'LZMA'],
  [50000, 'Zstandard'],
]);
const SEPARATE_PLANES = 2;
/** The most samples that Pillow reads. */
const MAX_SAMPLES = 6;

/**
 * Reads the directory of the first page.
 * @returns `undefined` for a file that is cut off, or whose first page is of a kind that Pillow does not read either.
 * @throws HandlerError `IMAGE_UNSUPPORTED` for a compression that is not read.
 */
export function readTiffPage(bytes: Uint8Array): TiffPage | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const directory = readTiffDirectory(file, readTags);
  const page = directory && readPage(file, directory);
  if (directory === undefined || page === undefined) return undefined;
  requireCompression(page.compression);
  const files = pageFiles(page);
  if (files === undefined) return undefined;
  const xmp = Buffer.from(valuesOf(directory, tag.xmp)).toString('latin1');
  const orientation = readOrientation({ tagged: numberOf(directory, tag.orientation), xmp });
  return {
    ...{ width: page.width, height: page.height, orientation, files },
    samples: sampleKind(page),
    isFax: faxCompressions.includes(page.compression),
    isUnusual: !simpleCompressions.includes(page.compression),
    bytesPerPixel: bytesPerPixel(page, orientation),
  };
}

/** Reads the tags of a page with the defaults and corrections that Pillow has (`TiffImageFile._setup`). */
function readPage(file: Buffer, directory: TiffDirectory): Page | undefined {
  const read = (key: number, otherwise: number) => numberOf(directory, key) ?? otherwise;
  const [width, height] = [read(tag.width, 0), read(tag.height, 0)];
  const compression = read(tag.compression, compressions.none);
  const isSeparate = read(tag.planar, 1) === SEPARATE_PLANES;
  const colours =
    compression === compressions.oldJpeg ? photometric.yCbCr : read(tag.photometric, photometric.whiteIsZero);
  const saidExtra = valuesOf(directory, tag.extraSamples);
  // Planes of no meaning, behind the others, are left out.
  const extraSamples = isSeparate && saidExtra.every((meaning) => meaning === 0) ? [] : saidExtra;
  const samples =
    read(tag.samples, compression === compressions.oldJpeg ? 3 : 1) - (saidExtra.length - extraSamples.length);
  const bitsOfSamples = valuesOf(directory, tag.bits).slice(0, samples);
  const bits = bitsOfSamples[0] ?? 1;
  const hasArea = width > 0 && height > 0 && read(tag.tileWidth, 1) > 0 && read(tag.tileHeight, 1) > 0;
  const isKnown = hasArea && samples > 0 && samples <= MAX_SAMPLES;
  if (!isKnown || bitsOfSamples.some((other) => other !== bits)) return undefined;
  const sampleFormat = read(tag.sampleFormat, 1);
  return {
    ...{ directory, file, width, height, compression, bits, sampleFormat, samples, extraSamples, isSeparate },
    photometric: colours,
  };
}

function requireCompression(compression: number): void {
  const name = unreadCompressions.get(compression);
  if (name === undefined) return;
  const message = `Expected a TIFF image of a compression that is read, such as LZW or Deflate, got one of ${name}.`;
  throw new HandlerError('IMAGE_UNSUPPORTED', message);
}

function sampleKind(page: Page): SampleKind {
  const { photometric: colours, bits, extraSamples } = page;
  if (colours === photometric.inks) return 'inks';
  if (colours === photometric.lab) return 'lab';
  if (isPlainYCbCr(page)) return 'ycbcr';
  if (bits === 12) return 'packed-12';
  const isPremultiplied = colours === photometric.rgb && extraSamples[0] === extraSample.associatedAlpha;
  return isPremultiplied ? 'premultiplied' : 'colours';
}

/**
 * Measured: 3.8 bytes for pixels of strips, and three times a row of tiles, which may be larger than the page. Turning
 * copies the pixels, and so does putting planes together. Inks and wide samples are larger. A strip may be a progressive
 * JPEG, which is held twice.
 */
function bytesPerPixel(page: Page, orientation: Orientation): number {
  const { directory, width, height, samples, bits, isSeparate } = page;
  const [tileWidth, tileHeight] = [numberOf(directory, tag.tileWidth) ?? 1, numberOf(directory, tag.tileHeight) ?? 0];
  const tileRowBytes = (Math.ceil(width / tileWidth) * tileWidth * tileHeight * samples * bits) / 8;
  const copies = 3.8 + (orientation === 1 ? 0 : 3) + (isSeparate ? 3 : 0);
  const wide = Math.max(0, (samples * bits) / 8 - 3);
  const isJpeg = page.compression === compressions.oldJpeg || page.compression === compressions.jpeg;
  const stripRows = isJpeg && tileHeight === 0 ? Math.min(numberOf(directory, tag.rowsPerStrip) ?? height, height) : 0;
  return copies + wide + (3 * tileRowBytes) / (width * height) + (2.2 * samples * stripRows) / height;
}
