/** What Pillow looks for among the chunks of a PNG, beside what the decoder reads (PNG specification, third edition). */
export interface PngChunks {
  /** The chunk `eXIf`. */
  readonly exif: Uint8Array | undefined;
  /** Whether the file ends within a chunk. */
  readonly isCutOff: boolean;
}

const SIGNATURE_BYTES = 8;
/** A chunk has its length, its type and its checksum around its data. */
const [LENGTH_BYTES, TYPE_BYTES, CHECKSUM_BYTES] = [4, 4, 4];
const START_BYTES = LENGTH_BYTES + TYPE_BYTES;

/** Walks through the chunks to `IEND`, by their lengths alone. */
export function readPngChunks(bytes: Uint8Array): PngChunks {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let exif: Uint8Array | undefined;
  for (let at = SIGNATURE_BYTES; at + START_BYTES <= file.length; ) {
    const end = at + START_BYTES + file.readUInt32BE(at) + CHECKSUM_BYTES;
    if (end > file.length) return { exif, isCutOff: true };
    const type = file.toString('latin1', at + LENGTH_BYTES, at + START_BYTES);
    if (type === 'eXIf') exif = file.subarray(at + START_BYTES, end - CHECKSUM_BYTES);
    if (type === 'IEND') break;
    at = end;
  }
  return { exif, isCutOff: false };
}
