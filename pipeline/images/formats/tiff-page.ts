import { HandlerError } from '../../../protocol/errors.ts';
import { type Orientation, readOrientation } from './orientation.ts';
import { readTiffDirectory, type TiffDirectory, type TiffField } from './tiff-directory.ts';
import { withDirectory } from './tiff-writer.ts';

/** The first page of a TIFF file, in a form that libtiff decodes as Pillow does. */
export interface TiffPage {
  /** As stored, before the orientation. */
  readonly width: number;
  readonly height: number;
  readonly orientation: Orientation;
  /** Files of the page alone: one, or one for each plane of samples. JPEG for old-style compression, else TIFF. */
  readonly files: readonly Uint8Array[];
  readonly samples: SampleKind;
  /** Whether it is compressed as faxes are (Group 3 or 4). */
  readonly isFax: boolean;
  /** The most memory that decoding takes for each pixel of the page. */
  readonly bytesPerPixel: number;
}

/**
 * What the decoder's samples are: colours, inks, CIE L*a*b*, bytes of rows of 12-bit grey, or colours multiplied by the alpha
 * behind them.
 */
export type SampleKind = 'colours' | 'inks' | 'lab' | 'packed-12' | 'premultiplied';

/** Tags by TIFF 6.0. */
const tag = {
  width: 256,
  height: 257,
  bits: 258,
  compression: 259,
  photometric: 262,
  fillOrder: 266,
  stripOffsets: 273,
  orientation: 274,
  samples: 277,
  rowsPerStrip: 278,
  stripBytes: 279,
  planar: 284,
  group3: 292,
  group4: 293,
  predictor: 317,
  colourMap: 320,
  tileWidth: 322,
  tileHeight: 323,
  tileOffsets: 324,
  tileBytes: 325,
  extraSamples: 338,
  sampleFormat: 339,
  jpegTables: 347,
  jpegStart: 513,
  chromaSubsampling: 530,
  chromaPosition: 531,
  xmp: 700,
} as const;
const readTags = new Set<number>(Object.values(tag));
/** Written as they are. The others are written anew, or not at all, so that libtiff never sees them. */
const keptTags = [
  tag.fillOrder,
  tag.group3,
  tag.group4,
  tag.predictor,
  tag.colourMap,
  tag.tileWidth,
  tag.tileHeight,
  tag.jpegTables,
  tag.chromaSubsampling,
  tag.chromaPosition,
];

const photometric = { whiteIsZero: 0, blackIsZero: 1, rgb: 2, palette: 3, inks: 5, yCbCr: 6, lab: 8 } as const;
const [UNCOMPRESSED, OLD_JPEG] = [1, 6];
const faxCompressions: readonly number[] = [2, 3, 4];
/** Compressions that libtiff reads in other builds, or that other programs write. */
const unreadCompressions: ReadonlyMap<number, string> = new Map([
  [34661, 'JBIG'],
  [34712, 'JPEG 2000'],
  [34887, 'LERC'],
  [34925, 'LZMA'],
  [50000, 'Zstandard'],
]);
const [SHORT, LONG] = [3, 4];
const SEPARATE_PLANES = 2;
const [ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA] = [1, 2];
const FLOAT = 3;
/** The most samples that Pillow reads. */
const MAX_SAMPLES = 6;

interface Page {
  readonly directory: TiffDirectory;
  readonly file: Buffer;
  readonly width: number;
  readonly height: number;
  readonly photometric: number;
  readonly compression: number;
  /** Of each sample, the same for all. */
  readonly bits: number;
  readonly sampleFormat: number;
  readonly samples: number;
  readonly extraSamples: readonly number[];
  readonly isSeparate: boolean;
}

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
    bytesPerPixel: bytesPerPixel(page, orientation),
  };
}

function valuesOf({ fields }: TiffDirectory, key: number): readonly number[] {
  return fields.get(key)?.values ?? [];
}

function numberOf(directory: TiffDirectory, key: number): number | undefined {
  return valuesOf(directory, key)[0];
}

/** Reads the tags of a page with the defaults and corrections that Pillow has (`TiffImageFile._setup`). */
function readPage(file: Buffer, directory: TiffDirectory): Page | undefined {
  const read = (key: number, otherwise: number) => numberOf(directory, key) ?? otherwise;
  const [width, height] = [read(tag.width, 0), read(tag.height, 0)];
  const compression = read(tag.compression, UNCOMPRESSED);
  const isSeparate = read(tag.planar, 1) === SEPARATE_PLANES;
  const colours = compression === OLD_JPEG ? photometric.yCbCr : read(tag.photometric, photometric.whiteIsZero);
  const saidExtra = valuesOf(directory, tag.extraSamples);
  // Planes of no meaning, behind the others, are left out.
  const extraSamples = isSeparate && saidExtra.every((meaning) => meaning === 0) ? [] : saidExtra;
  const samples = read(tag.samples, compression === OLD_JPEG ? 3 : 1) - (saidExtra.length - extraSamples.length);
  const bitsOfSamples = valuesOf(directory, tag.bits).slice(0, samples);
  const bits = bitsOfSamples[0] ?? 1;
  const isKnown = width > 0 && height > 0 && samples > 0 && samples <= MAX_SAMPLES;
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

function sampleKind({ photometric: colours, bits, extraSamples }: Page): SampleKind {
  if (colours === photometric.inks) return 'inks';
  if (colours === photometric.lab) return 'lab';
  if (bits === 12) return 'packed-12';
  const isPremultiplied = colours === photometric.rgb && extraSamples[0] === ASSOCIATED_ALPHA;
  return isPremultiplied ? 'premultiplied' : 'colours';
}

/**
 * Measured: 3.8 bytes for pixels of strips, and three times a row of tiles, which may be larger than the page. Turning
 * copies the pixels, and so does putting planes together. Inks and wide samples are larger.
 */
function bytesPerPixel(page: Page, orientation: Orientation): number {
  const { directory, width, height, samples, bits, isSeparate } = page;
  const [tileWidth, tileHeight] = [numberOf(directory, tag.tileWidth) ?? 1, numberOf(directory, tag.tileHeight) ?? 0];
  const tileRowBytes = (Math.ceil(width / tileWidth) * tileWidth * tileHeight * samples * bits) / 8;
  const copies = 3.8 + (orientation === 1 ? 0 : 3) + (isSeparate ? 3 : 0);
  const wide = Math.max(0, (samples * bits) / 8 - 3);
  return copies + wide + (3 * tileRowBytes) / (width * height);
}

function pageFiles(page: Page): readonly Uint8Array[] | undefined {
  const { directory, file, compression, isSeparate, samples } = page;
  if (compression === OLD_JPEG) {
    const start = numberOf(directory, tag.jpegStart) ?? numberOf(directory, tag.stripOffsets);
    return start === undefined ? undefined : [file.subarray(start)];
  }
  const isTiled = directory.fields.has(tag.tileOffsets);
  const [offsets, byteCounts] = isTiled
    ? [valuesOf(directory, tag.tileOffsets), valuesOf(directory, tag.tileBytes)]
    : [valuesOf(directory, tag.stripOffsets), valuesOf(directory, tag.stripBytes)];
  const parts = { isTiled, offsets, byteCounts };
  if (!areWhole(page, parts)) return undefined;
  if (!isSeparate) return [write(page, parts)];
  // libvips knows no tiles of separate planes.
  const perPlane = Math.floor(offsets.length / samplesSaid(page));
  return Array.from({ length: samples }, (_, plane) => {
    const own = (values: readonly number[]) => values.slice(plane * perPlane, (plane + 1) * perPlane);
    return write(onePlane(page), { isTiled, offsets: own(offsets), byteCounts: own(byteCounts) });
  });
}

/** Whether the file has all strips or tiles to their ends, which libtiff would not miss behind its new directory. */
function areWhole(page: Page, { isTiled, offsets, byteCounts }: Parts): boolean {
  const { directory, file, width, height, samples, bits, compression, isSeparate } = page;
  const used = isSeparate ? offsets.slice(0, Math.floor((offsets.length * samples) / samplesSaid(page))) : offsets;
  const [partWidth, partHeight] = isTiled
    ? [numberOf(directory, tag.tileWidth) ?? width, numberOf(directory, tag.tileHeight) ?? height]
    : [width, Math.min(numberOf(directory, tag.rowsPerStrip) ?? height, height)];
  const rowBytes = Math.ceil((partWidth * bits * (isSeparate ? 1 : samples)) / 8);
  const strips = Math.ceil(height / partHeight);
  const isInside = (offset: number, index: number) => {
    const rows = isTiled ? partHeight : Math.min(partHeight, height - (index % strips) * partHeight);
    const byteCount = compression === UNCOMPRESSED ? rows * rowBytes : (byteCounts[index] ?? 1);
    return offset + byteCount <= file.length;
  };
  return used.length > 0 && used.every(isInside);
}

function samplesSaid({ directory, samples }: Page): number {
  return Math.max(samples, numberOf(directory, tag.samples) ?? samples);
}

/** A plane is grey, where it is not the only one. */
function onePlane(page: Page): Page {
  const colours = page.samples === 1 ? page.photometric : photometric.blackIsZero;
  return { ...page, samples: 1, extraSamples: [], isSeparate: false, photometric: colours };
}

interface Parts {
  readonly isTiled: boolean;
  readonly offsets: readonly number[];
  readonly byteCounts: readonly number[];
}

function write(page: Page, { isTiled, offsets, byteCounts }: Parts): Uint8Array {
  const { directory, file, height } = page;
  const fields = new Map<number, TiffField>();
  for (const key of keptTags) {
    const field = directory.fields.get(key);
    if (field !== undefined) fields.set(key, field);
  }
  const set = (key: number, values: readonly number[], type = LONG) => {
    if (values.length > 0) fields.set(key, { type, values });
  };
  const form = decoderForm(page);
  set(tag.width, [form.width]);
  set(tag.height, [height]);
  set(
    tag.bits,
    Array.from({ length: page.samples }, () => form.bits),
    SHORT,
  );
  set(tag.compression, [page.compression], SHORT);
  set(tag.photometric, [form.photometric], SHORT);
  set(tag.samples, [page.samples], SHORT);
  set(tag.planar, [1], SHORT);
  // libvips would divide by alpha, and round otherwise than Pillow.
  const plainAlpha = page.extraSamples.map((meaning) => (meaning === ASSOCIATED_ALPHA ? UNASSOCIATED_ALPHA : meaning));
  set(tag.extraSamples, plainAlpha, SHORT);
  set(
    tag.sampleFormat,
    Array.from({ length: page.samples }, () => form.sampleFormat),
    SHORT,
  );
  set(isTiled ? tag.tileOffsets : tag.stripOffsets, offsets);
  set(isTiled ? tag.tileBytes : tag.stripBytes, byteCounts);
  if (!isTiled) set(tag.rowsPerStrip, [Math.min(numberOf(directory, tag.rowsPerStrip) ?? height, height)]);
  return withDirectory(file, directory.isLittleEndian, fields);
}

/** Samples in a form that the decoder knows: bytes stay as they are, and later code gives them their meaning. */
function decoderForm(page: Page): Pick<Page, 'width' | 'bits' | 'photometric' | 'sampleFormat'> {
  const { width, bits, photometric: colours, sampleFormat } = page;
  if (bits === 12) {
    const rowBytes = Math.ceil((width * bits * page.samples) / 8);
    return { width: rowBytes, bits: 8, photometric: photometric.blackIsZero, sampleFormat: 1 };
  }
  if (colours === photometric.lab) return { width, bits, photometric: photometric.rgb, sampleFormat: 1 };
  // Pillow takes bytes with a sign for bytes without, and floats for light in any case.
  if (bits === 8) return { width, bits, photometric: colours, sampleFormat: 1 };
  const isInverted = colours === photometric.whiteIsZero && sampleFormat === FLOAT;
  return { width, bits, photometric: isInverted ? photometric.blackIsZero : colours, sampleFormat };
}
