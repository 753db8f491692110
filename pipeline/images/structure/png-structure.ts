import { requireAtMost } from '../part-limit.ts';
import { ByteView } from './byte-view.ts';
import { countExifEntries, withoutExifPrefix } from './exif-structure.ts';
import { type ImageStructure, plainStructure } from './structure.ts';

/** Encoders write a chunk for each 4 to 64 kB, thousands in the largest files. */
const MAX_CHUNKS = 50_000;
/** Compressed chunks of metadata, of which the decoder inflates up to 8 MB each. Files have a profile and a few texts. */
const MAX_COMPRESSED_CHUNKS = 100;
const SIGNATURE_BYTES = 8;
/** Length, name and checksum. */
const FRAME_BYTES = 12;

/** The number that a name of a chunk is. */
const nameNumber = (name: string): number => Buffer.from(name, 'latin1').readUInt32BE();
const EXIF = nameNumber('eXIf');
const compressedNames: ReadonlySet<number> = new Set(['zTXt', 'iTXt', 'iCCP'].map(nameNumber));

/**
 * Counts chunks.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readPngStructure(bytes: Uint8Array): ImageStructure {
  const view = new ByteView(bytes);
  let chunkCount = 0;
  let compressedCount = 0;
  let exifCount = 0;
  for (let at = SIGNATURE_BYTES; at < view.length; at += FRAME_BYTES + view.uint32(at)) {
    chunkCount += 1;
    requireAtMost(MAX_CHUNKS, chunkCount, 'chunks');
    const name = view.uint32(at + 4);
    if (compressedNames.has(name)) compressedCount += 1;
    requireAtMost(MAX_COMPRESSED_CHUNKS, compressedCount, 'compressed chunks of text or profile');
    if (name !== EXIF) continue;
    const exif = view.bytes.subarray(at + 8, at + 8 + view.uint32(at));
    exifCount = countExifEntries(withoutExifPrefix(exif), exifCount);
  }
  return plainStructure(bytes);
}
