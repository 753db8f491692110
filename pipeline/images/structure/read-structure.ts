import { readAvifStructure } from './avif-structure.ts';
import { ByteView } from './byte-view.ts';
import { readGifStructure } from './gif-structure.ts';
import { readJpegStructure } from './jpeg-structure.ts';
import { readPngStructure } from './png-structure.ts';
import { type ImageStructure, plainStructure } from './structure.ts';
import { readTiffStructure } from './tiff-structure.ts';
import { readWebpStructure } from './webp-structure.ts';

/** The readers of formats, by the first bytes of their files. A dot is any byte. */
const readers: readonly (readonly [RegExp, (bytes: Uint8Array) => ImageStructure])[] = [
  [/^\xff\xd8\xff/s, readJpegStructure],
  [/^\x89PNG/s, readPngStructure],
  [/^RIFF....WEBP/s, readWebpStructure],
  [/^GIF8/s, readGifStructure],
  [/^....ftyp/s, readAvifStructure],
  [/^(?:II[*+]\0|MM\0[*+]|MM\*\0|II\0\*)/s, readTiffStructure],
];

/**
 * Counts what a file is built of, before a decoder sees it, and takes the first frame out of an animation. It reads on
 * after the lengths that the file has, in one pass, without copying, and leaves damage to the decoder.
 * docs/decisions/0029-where-images-are-decoded.md has the limits.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readStructure(bytes: Uint8Array): ImageStructure {
  const start = new ByteView(bytes).text(0, 12);
  const [, read = plainStructure] = readers.find(([signature]) => signature.test(start)) ?? [];
  return read(bytes);
}
