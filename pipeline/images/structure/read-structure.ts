import { type FormatKey, recognizeFormat } from '../formats/image-formats.ts';
import { readAvifStructure } from './avif-structure.ts';
import { readGifStructure } from './gif-structure.ts';
import { readJpegStructure } from './jpeg-structure.ts';
import { readPngStructure } from './png-structure.ts';
import { type ImageStructure, plainStructure } from './structure.ts';
import { readTiffStructure } from './tiff-structure.ts';
import { readWebpStructure } from './webp-structure.ts';

/** A reader for each format. A BMP has no parts to count: its size tells its work. */
const readers: Readonly<Record<FormatKey, (bytes: Uint8Array) => ImageStructure>> = {
  jpeg: readJpegStructure,
  png: readPngStructure,
  webp: readWebpStructure,
  gif: readGifStructure,
  avif: readAvifStructure,
  tiff: readTiffStructure,
  bmp: plainStructure,
};

/**
 * Counts what a file is built of, before a decoder sees it, and takes the first frame out of an animation. It reads on
 * after the lengths that the file has, in one pass, without copying, and leaves damage to the decoder.
 * docs/decisions/0029-where-images-are-decoded.md has the limits.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readStructure(bytes: Uint8Array): ImageStructure {
  const format = recognizeFormat(bytes);
  return format === undefined ? plainStructure(bytes) : readers[format](bytes);
}
