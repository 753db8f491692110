import { requireAtMost } from '../part-limit.ts';
import { ByteView } from './byte-view.ts';
import { countExifEntries, withoutExifPrefix } from './exif-structure.ts';
import { type ImageStructure, plainStructure } from './structure.ts';

/** A file with more is reduced to what its first frame needs. 10,000 frames take 80 ms, and 100,000 take 10 s. */
const MAX_CHUNKS = 500;
const HEADER_BYTES = 12;
/** More are refused. An animation has a chunk for each frame. */
const MAX_WALKED_CHUNKS = 200_000;
/** The chunks that a decoder of one frame reads, by the numbers that their names are. Source: RFC 9649. */
const readChunks: ReadonlyMap<number, string> = new Map(
  ['VP8X', 'ICCP', 'ANIM', 'ANMF', 'ALPH', 'VP8 ', 'VP8L', 'EXIF', 'XMP '].map((name) => [
    Buffer.from(name, 'latin1').readUInt32LE(),
    name,
  ]),
);

/**
 * Keeps the first frame of a long animation, with its canvas and its place on it: libwebp compares each frame with all
 * that came before. A short one is left to the decoder, which refuses the damaged ones that Pillow refuses.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readWebpStructure(bytes: Uint8Array): ImageStructure {
  const view = new ByteView(bytes, true);
  const firsts = new Map<string, Uint8Array>();
  let chunkCount = 0;
  for (let at = HEADER_BYTES; at < view.length; ) {
    const name = readChunks.get(view.uint32(at));
    const byteCount = view.uint32(at + 4) || 0;
    const end = at + 8 + byteCount + (byteCount % 2);
    chunkCount += 1;
    requireAtMost(MAX_WALKED_CHUNKS, chunkCount, 'chunks');
    if (name !== undefined && !firsts.has(name)) firsts.set(name, view.bytes.subarray(at, end));
    at = end;
  }
  const exif = firsts.get('EXIF')?.subarray(8);
  if (exif !== undefined) countExifEntries(withoutExifPrefix(exif));
  if (chunkCount <= MAX_CHUNKS) return plainStructure(bytes);
  return plainStructure(webpOf([...firsts.values()]));
}

function webpOf(chunks: readonly Uint8Array[]): Uint8Array {
  const byteCount = chunks.reduce((sum, { length }) => sum + length, 0);
  const header = Buffer.from('RIFF\0\0\0\0WEBP', 'latin1');
  header.writeUInt32LE(byteCount + 4, 4);
  return Buffer.concat([header, ...chunks]);
}
