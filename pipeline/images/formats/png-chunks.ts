import { crc32, inflateSync } from 'node:zlib';

/** The chunks of a PNG that Pillow looks for, wherever they are (PNG specification, third edition). */
export interface PngChunks {
  /** The chunk `eXIf`, or else ImageMagick's text. */
  readonly exif: Uint8Array | undefined;
  readonly xmp: string | undefined;
  /** Whether the file ends within a chunk, or a chunk before the pixels has another checksum than it says. */
  readonly isBroken: boolean;
}

interface Chunk {
  readonly type: string;
  readonly start: number;
  readonly data: Buffer;
  /** The place behind its checksum. */
  readonly end: number;
}

const SIGNATURE_BYTES = 8;
/** A chunk has its length, its type and its checksum around its data. */
const [LENGTH_BYTES, TYPE_BYTES, CHECKSUM_BYTES] = [4, 4, 4];
const START_BYTES = LENGTH_BYTES + TYPE_BYTES;
const MAX_TEXT_BYTES = 1_000_000;

type TextKind = 'tEXt' | 'zTXt' | 'iTXt';

interface TextChunk {
  readonly kind: TextKind;
  /** After the keyword and its end. */
  readonly data: Buffer;
}

/** Keywords of texts that are read. Only the last text of each is. */
const rawProfile = 'Raw profile type exif';
const xmpKeyword = 'XML:com.adobe.xmp';
const keywordPattern = new RegExp(`^(${rawProfile}|${xmpKeyword})\0`);

/** The chunks to `IEND`, by their lengths. The last one may be cut off. */
function* chunksOf(file: Buffer): Generator<Chunk> {
  for (let at = SIGNATURE_BYTES; at + START_BYTES <= file.length; ) {
    const type = file.toString('latin1', at + LENGTH_BYTES, at + START_BYTES);
    const end = at + START_BYTES + file.readUInt32BE(at) + CHECKSUM_BYTES;
    if (type === 'IEND' || !/^\w{4}$/.test(type)) return;
    yield { type, start: at, data: file.subarray(at + START_BYTES, end - CHECKSUM_BYTES), end };
    at = end;
  }
}

function hasRightChecksum(file: Buffer, { start, end }: Chunk): boolean {
  const checked = file.subarray(start + LENGTH_BYTES, end - CHECKSUM_BYTES);
  return end <= file.length && crc32(checked) === file.readUInt32BE(end - CHECKSUM_BYTES);
}

/** Walks through the chunks. Those with pixels are skipped by their lengths, so that this costs little. */
export function readPngChunks(bytes: Uint8Array): PngChunks {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts = new Map<string, TextChunk>();
  let exif: Uint8Array | undefined;
  let hasPixels = false;
  let isBroken = false;
  let isAnimated = false;
  for (const chunk of chunksOf(file)) {
    const { type, data, end } = chunk;
    isAnimated ||= type === 'acTL' && data.length >= 4 && data.readUInt32BE() > 1;
    // Another frame begins. Pillow reads no further, so that damage behind does not matter.
    if (isAnimated && hasPixels && type === 'fcTL') break;
    hasPixels ||= type === 'IDAT';
    isBroken ||= hasPixels ? end - CHECKSUM_BYTES > file.length : !hasRightChecksum(file, chunk);
    if (type === 'eXIf') exif = data;
    if (type === 'tEXt' || type === 'zTXt' || type === 'iTXt') addText(texts, type, data);
  }
  return {
    exif: exif ?? readRawProfile(readText(texts.get(rawProfile))),
    xmp: readText(texts.get(xmpKeyword)),
    isBroken,
  };
}

/**
 * The file with right checksums on its pixels, or `undefined` where they are right. Pixels have a checksum of their own
 * within (zlib's), and neither Pillow nor browsers mind the outer one.
 */
export function withPixelChecksums(bytes: Uint8Array): Uint8Array | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wrong = [...chunksOf(file)].filter(
    (chunk) => chunk.type === 'IDAT' && chunk.end <= file.length && !hasRightChecksum(file, chunk),
  );
  if (wrong.length === 0) return undefined;
  const repaired = Buffer.from(file);
  for (const { start, end } of wrong) {
    repaired.writeUInt32BE(crc32(file.subarray(start + LENGTH_BYTES, end - CHECKSUM_BYTES)), end - CHECKSUM_BYTES);
  }
  return repaired;
}

function addText(texts: Map<string, TextChunk>, kind: TextKind, chunk: Buffer): void {
  const keyword = keywordPattern.exec(chunk.toString('latin1', 0, 24))?.[1];
  if (keyword !== undefined) texts.set(keyword, { kind, data: chunk.subarray(keyword.length + 1) });
}

/** ImageMagick writes a profile as a line break, its name, its length and hexadecimal digits, on lines of their own. */
function readRawProfile(text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : Buffer.from(text.split('\n').slice(3).join(''), 'hex');
}

/** Text as Latin-1: only ASCII in it matters. */
function readText(chunk: TextChunk | undefined): string | undefined {
  if (chunk === undefined) return undefined;
  const { kind, data } = chunk;
  if (kind === 'tEXt') return data.toString('latin1', 0, MAX_TEXT_BYTES);
  if (kind === 'zTXt') return inflate(data.subarray(1));
  // Whether it is compressed, how, a language, and the keyword in that language.
  const textAt = data.indexOf(0, data.indexOf(0, 2) + 1) + 1;
  return data[0] === 1 ? inflate(data.subarray(textAt)) : data.toString('latin1', textAt, textAt + MAX_TEXT_BYTES);
}

function inflate(data: Buffer): string | undefined {
  try {
    return inflateSync(data, { maxOutputLength: MAX_TEXT_BYTES }).toString('latin1');
  } catch {
    return undefined; // Nobody misses a text that is broken or too long.
  }
}
