import type { TiffDirectory } from './tiff-directory.ts';

/** Tags by TIFF 6.0. */
export const tag = {
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
export const readTags = new Set<number>(Object.values(tag));
export const photometric = { whiteIsZero: 0, blackIsZero: 1, rgb: 2, palette: 3, inks: 5, yCbCr: 6, lab: 8 } as const;
export const compressions = { none: 1, oldJpeg: 6, jpeg: 7 } as const;
/** None, LZW, deflate (two numbers) and PackBits: their work follows from the pixels. Source: libtiff, tiff.h. */
export const simpleCompressions: readonly number[] = [1, 5, 8, 32_773, 32_946];
/** Meanings of samples behind the colours. */
export const extraSample = { associatedAlpha: 1, unassociatedAlpha: 2 } as const;
/** The value of tag 339 for floats. */
export const FLOAT = 3;

/** The first page of a file, with the defaults and corrections that Pillow has. */
export interface Page {
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

export function valuesOf({ fields }: TiffDirectory, key: number): readonly number[] {
  return fields.get(key)?.values ?? [];
}

export function numberOf(directory: TiffDirectory, key: number): number | undefined {
  return valuesOf(directory, key)[0];
}

/**
 * Whether pixels are light and two colours (YCbCr) that have a sample for each pixel, as libvips would leave them. Without
 * a tag two by two pixels share their colours, but not in Pillow where there is no compression.
 */
export function isPlainYCbCr({ directory, photometric: colours, compression, bits }: Page): boolean {
  if (colours !== photometric.yCbCr || bits !== 8 || !simpleCompressions.includes(compression)) return false;
  const shared = valuesOf(directory, tag.chromaSubsampling);
  return shared.length === 0 ? compression === compressions.none : shared.every((pixels) => pixels === 1);
}
