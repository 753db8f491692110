/**
 * How an image is to be turned, read from where Pillow's `ImageOps.exif_transpose` reads it: tag 274 of EXIF, else
 * `tiff:Orientation` of XMP.
 */

/** 1 is upright; 2 to 8 are mirrored or turned (EXIF 2.32, tag 274). */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

const ORIENTATION_TAG = 274;
/** Bytes of TIFF's types of whole numbers: SHORT, LONG, SBYTE, SSHORT, SLONG. Pillow takes BYTE for no number. */
const typeBytes: ReadonlyMap<number, number> = new Map([
  [3, 2],
  [4, 4],
  [6, 1],
  [8, 2],
  [9, 4],
]);

export interface OrientationSources {
  /** The value of tag 274, where it was read already. */
  readonly tagged?: number | undefined;
  readonly exif?: Uint8Array | undefined;
  /** XML as text; only ASCII in it matters. */
  readonly xmp?: string | undefined;
}

/** The orientation, or 1 where the sources have none or an unknown one. */
export function readOrientation({ tagged, exif, xmp }: OrientationSources): Orientation {
  const ofExif = tagged ?? (exif === undefined ? undefined : exifOrientation(exif));
  const value = ofExif ?? xmpOrientation(xmp ?? '') ?? 1;
  return isOrientation(value) ? value : 1;
}

function isOrientation(value: number): value is Orientation {
  return Number.isInteger(value) && value >= 1 && value <= 8;
}

function xmpOrientation(xmp: string): number | undefined {
  const digit = /tiff:Orientation(?:="|>)([0-9])/.exec(xmp)?.[1];
  return digit === undefined ? undefined : Number(digit);
}

/** The value in the first directory of EXIF, which is a TIFF file without pixels, after `Exif\0\0` or none. */
export function exifOrientation(exif: Uint8Array): number | undefined {
  const bytes = Buffer.from(exif.buffer, exif.byteOffset, exif.byteLength);
  const prefixBytes = /^(?:Exif\0\0){0,2}/.exec(bytes.toString('latin1', 0, 12))?.[0].length ?? 0;
  return directoryOrientation(bytes.subarray(prefixBytes));
}

function directoryOrientation(tiff: Buffer): number | undefined {
  const byteOrder = tiff.toString('latin1', 0, 2);
  if (tiff.length < 10 || (byteOrder !== 'II' && byteOrder !== 'MM')) return undefined;
  const isLittle = byteOrder === 'II';
  const unsigned = (at: number, length: number) =>
    isLittle ? tiff.readUIntLE(at, length) : tiff.readUIntBE(at, length);
  const start = unsigned(4, 4);
  if (start + 2 > tiff.length) return undefined;
  const entries = Math.min(unsigned(start, 2), Math.floor((tiff.length - start - 2) / 12));
  for (let at = start + 2; at < start + 2 + entries * 12; at += 12) {
    if (unsigned(at, 2) !== ORIENTATION_TAG) continue;
    const length = typeBytes.get(unsigned(at + 2, 2));
    const count = unsigned(at + 4, 4);
    if (length === undefined || count === 0) continue;
    const valueAt = length * count > 4 ? unsigned(at + 8, 4) : at + 8;
    // The first entry of a tag counts.
    if (valueAt + length * count <= tiff.length) return unsigned(valueAt, length);
  }
  return undefined;
}
