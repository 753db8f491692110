/** A box of an ISO base media file (ISO/IEC 14496-12). */
interface Box {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

const HEADER_BYTES = 8;
const LONG_HEADER_BYTES = 16;
/** `meta` has a version and flags before the boxes in it. */
const VERSION_BYTES = 4;
/** More than any writer makes. */
const MAX_BOXES = 1000;

/** The boxes between two places, by their lengths: 0 means to the end, and 1 that a longer length follows. */
function boxesIn(file: Buffer, start: number, end: number): readonly Box[] {
  const boxes: Box[] = [];
  for (let at = start; at + HEADER_BYTES <= end && boxes.length < MAX_BOXES; ) {
    const said = file.readUInt32BE(at);
    const isLong = said === 1 && at + LONG_HEADER_BYTES <= end;
    const headerBytes = isLong ? LONG_HEADER_BYTES : HEADER_BYTES;
    const length = isLong ? Number(file.readBigUInt64BE(at + HEADER_BYTES)) : said || end - at;
    if (length < headerBytes) break;
    const boxEnd = Math.min(at + length, end);
    boxes.push({ type: file.toString('latin1', at + 4, at + 8), start: at + headerBytes, end: boxEnd });
    at = boxEnd;
  }
  return boxes;
}

function inside(file: Buffer, boxes: readonly Box[], type: string, skippedBytes = 0): readonly Box[] {
  const box = boxes.find((candidate) => candidate.type === type);
  return box === undefined ? [] : boxesIn(file, box.start + skippedBytes, box.end);
}

/** Whether the items of an AVIF have properties that turn or mirror them, by which decoders turn them. */
export function hasTurns(bytes: Uint8Array): boolean {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const meta = inside(file, boxesIn(file, 0, file.length), 'meta', VERSION_BYTES);
  const properties = inside(file, inside(file, meta, 'iprp'), 'ipco');
  return properties.some(({ type }) => type === 'irot' || type === 'imir');
}

const BRAND_AT = 8;

/**
 * The file with the brand of a still image. A sequence has a still image beside its frames, its first one, but libvips goes
 * by the brand.
 */
export function asStillImage(bytes: Uint8Array): Uint8Array {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.toString('latin1', BRAND_AT, BRAND_AT + 4) === 'avif') return bytes;
  const still = Buffer.from(file);
  still.write('avif', BRAND_AT, 'latin1');
  return still;
}
