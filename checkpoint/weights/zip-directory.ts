import { CheckpointError } from '../errors.ts';
import { type BinaryFile, readBytes, withFile } from '../files/binary-file.ts';

/** A record of an archive, whose bytes are not compressed. They are counted from the start of the file. */
export interface ZipRecord {
  readonly name: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

const LOCAL_HEADER = { signature: 0x04034b50, bytes: 30 };
const DIRECTORY_HEADER = { signature: 0x02014b50, bytes: 46 };
const END = { signature: 0x06054b50, bytes: 22 };
const ZIP64_LOCATOR = { signature: 0x07064b50, bytes: 20 };
const ZIP64_END = { signature: 0x06064b50, bytes: 56 };
const MAX_COMMENT_BYTES = 0xffff;
/** A 32-bit field with this value has its real value in a 64-bit field elsewhere. */
const SEE_ZIP64 = 0xffffffff;
const ZIP64_EXTRA_ID = 0x0001;
/** General purpose flags: bits 0 (encrypted), 6 (strong encryption) and 13 (masked headers). */
const ENCRYPTION_FLAGS = 0x2041;
const STORED = 0;
/** The largest published checkpoints have some thousand records of about a hundred bytes each. */
const MAX_DIRECTORY_BYTES = 16_000_000;

/**
 * Finds the records of a zip archive that does not compress them. Reads only the directory at its end and the header
 * before each record.
 * Format: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (its end) and
 * 4.5.3 (sizes of 64 bits).
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID` or `CHECKPOINT_FILE_UNREADABLE`; the message names file and record.
 */
export function readZipDirectory(path: string): ReadonlyMap<string, ZipRecord> {
  return withFile(path, (file) => {
    requireZip(file);
    const directory = findDirectory(file);
    const entries = readEntries(file, directory);
    requireNamedOnce(path, entries);
    const extents = entries.map((entry) => locateRecord(file, entry, directory.offsetBytes));
    requireDisjoint(path, extents);
    return new Map(extents.map(({ record }) => [record.name, record]));
  });
}

/**
 * Reads the bytes of a record.
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID` when it has more than `maxBytes`.
 */
export function readRecord(path: string, record: ZipRecord, maxBytes: number): Buffer {
  if (record.lengthBytes > maxBytes)
    throw invalid(path, `record ${record.name} to have at most ${maxBytes} bytes, got ${record.lengthBytes}`);
  return withFile(path, (file) => readBytes(file, record.offsetBytes, record.lengthBytes));
}

/** A zip archive may begin with other bytes, but those of torch.save never do. */
function requireZip(file: BinaryFile): void {
  const start = readBytes(file, 0, Math.min(file.sizeBytes, 4));
  if (start.length < 4 || start.readUInt32LE() !== LOCAL_HEADER.signature)
    throw invalid(file.path, `a zip archive, got ${file.sizeBytes} bytes that begin otherwise`);
}

interface Directory {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly entryCount: number;
}

function findDirectory(file: BinaryFile): Directory {
  const end = findEnd(file);
  const zip64End = readZip64End(file, end.offsetBytes);
  const field = (name: string, offset: number, byteCount: 2 | 4, zip64Offset: number) => {
    const value = end.bytes.readUIntLE(offset, byteCount);
    if (zip64End === undefined) return value;
    const wide = readSize(file.path, zip64End.bytes, zip64Offset);
    if (value !== wide && value !== 2 ** (8 * byteCount) - 1)
      throw invalid(file.path, `one ${name} of the directory, got ${value} and ${wide}`);
    return wide;
  };
  const otherDisk = [4, 6].map((offset) => end.bytes.readUInt16LE(offset)).find((disk) => disk !== 0);
  if (otherDisk !== undefined) throw invalid(file.path, `a zip archive in one part, got disk ${otherDisk}`);
  const directory = {
    entryCount: field('record count', 10, 2, 32),
    lengthBytes: field('length', 12, 4, 40),
    offsetBytes: field('offset', 16, 4, 48),
  };
  const limit = (zip64End ?? end).offsetBytes;
  if (directory.offsetBytes + directory.lengthBytes > limit) {
    throw invalid(
      file.path,
      `the directory before byte ${limit}, got ${directory.lengthBytes} bytes at ${directory.offsetBytes}`,
    );
  }
  if (directory.lengthBytes > MAX_DIRECTORY_BYTES)
    throw invalid(file.path, `a directory of at most ${MAX_DIRECTORY_BYTES} bytes, got ${directory.lengthBytes}`);
  return directory;
}

/** A part of the file that was read, with its offset. */
interface Part {
  readonly offsetBytes: number;
  readonly bytes: Buffer;
}

/** The directory ends the file, except for a comment whose length it contains. */
function findEnd(file: BinaryFile): Part {
  const tailOffset = Math.max(0, file.sizeBytes - END.bytes - MAX_COMMENT_BYTES);
  const tail = readBytes(file, tailOffset, file.sizeBytes - tailOffset);
  for (let at = tail.length - END.bytes; at >= 0; at -= 1) {
    const bytes = tail.subarray(at);
    if (bytes.readUInt32LE(0) === END.signature && bytes.readUInt16LE(20) === bytes.length - END.bytes)
      return { offsetBytes: tailOffset + at, bytes };
  }
  throw invalid(
    file.path,
    'a whole zip archive, got one without the directory at its end: it may have been cut off. Download it again',
  );
}

function readZip64End(file: BinaryFile, endOffset: number): Part | undefined {
  const locatorOffset = endOffset - ZIP64_LOCATOR.bytes;
  if (locatorOffset < 0) return undefined;
  const locator = readBytes(file, locatorOffset, ZIP64_LOCATOR.bytes);
  if (locator.readUInt32LE(0) !== ZIP64_LOCATOR.signature) return undefined;
  const offsetBytes = readSize(file.path, locator, 8);
  if (offsetBytes + ZIP64_END.bytes > locatorOffset)
    throw invalid(file.path, `the zip64 end of the directory before byte ${locatorOffset}, got ${offsetBytes}`);
  const bytes = readBytes(file, offsetBytes, ZIP64_END.bytes);
  if (bytes.readUInt32LE(0) !== ZIP64_END.signature)
    throw invalid(file.path, `the zip64 end of the directory at byte ${offsetBytes}, got other bytes`);
  return { offsetBytes, bytes };
}

interface Entry {
  readonly name: string;
  readonly nameBytes: Buffer;
  readonly headerOffset: number;
  readonly lengthBytes: number;
  /** Of this entry in the directory. */
  readonly entryBytes: number;
}

function readEntries(file: BinaryFile, directory: Directory): readonly Entry[] {
  const bytes = readBytes(file, directory.offsetBytes, directory.lengthBytes);
  const entries: Entry[] = [];
  for (let at = 0; at < bytes.length; ) {
    const entry = readEntry(file.path, bytes.subarray(at));
    entries.push(entry);
    at += entry.entryBytes;
  }
  if (entries.length !== directory.entryCount)
    throw invalid(file.path, `${directory.entryCount} records, got ${entries.length}`);
  return entries;
}

function readEntry(path: string, bytes: Buffer): Entry {
  if (bytes.length < DIRECTORY_HEADER.bytes || bytes.readUInt32LE(0) !== DIRECTORY_HEADER.signature)
    throw invalid(path, 'a directory of records, got other bytes');
  const nameEnd = DIRECTORY_HEADER.bytes + bytes.readUInt16LE(28);
  const extraEnd = nameEnd + bytes.readUInt16LE(30);
  const entryBytes = extraEnd + bytes.readUInt16LE(32);
  if (entryBytes > bytes.length)
    throw invalid(path, `a directory entry of ${entryBytes} bytes, got ${bytes.length} bytes`);
  const nameBytes = bytes.subarray(DIRECTORY_HEADER.bytes, nameEnd);
  const name = readName(path, nameBytes);
  requireStored(path, name, bytes.readUInt16LE(8), bytes.readUInt16LE(10));
  const narrow = [24, 20, 42].map((offset) => bytes.readUInt32LE(offset));
  const [lengthBytes = 0, compressedBytes, headerOffset = 0] = widen(
    path,
    name,
    narrow,
    bytes.subarray(nameEnd, extraEnd),
  );
  if (compressedBytes !== lengthBytes)
    throw invalid(path, `record ${name} to be stored in ${lengthBytes} bytes, got ${compressedBytes}`);
  return { name, nameBytes, headerOffset, lengthBytes, entryBytes };
}

/** Names are looked up and never written to a disk, but torch.save writes none that leads out of a folder. */
function readName(path: string, bytes: Buffer): string {
  const name = bytes.toString('utf8');
  const isOdd = [...name].some((character) => character < ' ' || '\\\ufffd'.includes(character));
  if (isOdd || name.split('/').some((part) => ['', '.', '..'].includes(part)))
    throw invalid(path, `names of records as torch.save writes them, got ${JSON.stringify(name).slice(0, 80)}`);
  return name;
}

function requireStored(path: string, name: string, flags: number, method: number): void {
  if ((flags & ENCRYPTION_FLAGS) !== 0) throw invalid(path, `record ${name} to be readable, got it encrypted`);
  if (method !== STORED)
    throw invalid(
      path,
      `record ${name} to be stored, got it compressed (method ${method}); torch.save does not compress`,
    );
}

/** An extra field has the values that are too large for 32 bits, in the order of the fields, and no others. */
function widen(path: string, name: string, narrow: readonly number[], extra: Buffer): readonly number[] {
  const wide = findZip64Extra(path, name, extra);
  let at = 0;
  return narrow.map((value) => {
    if (value !== SEE_ZIP64 || wide === undefined) return value;
    if (at + 8 > wide.length)
      throw invalid(path, `record ${name} to have its sizes in 64 bits, got ${wide.length} bytes`);
    at += 8;
    return readSize(path, wide, at - 8);
  });
}

function findZip64Extra(path: string, name: string, extra: Buffer): Buffer | undefined {
  for (let at = 0; at < extra.length; ) {
    const dataStart = at + 4;
    const dataEnd = dataStart <= extra.length ? dataStart + extra.readUInt16LE(at + 2) : Number.POSITIVE_INFINITY;
    if (dataEnd > extra.length) throw invalid(path, `record ${name} to have whole extra fields, got one cut off`);
    if (extra.readUInt16LE(at) === ZIP64_EXTRA_ID) return extra.subarray(dataStart, dataEnd);
    at = dataEnd;
  }
  return undefined;
}

function requireNamedOnce(path: string, entries: readonly Entry[]): void {
  const seen = new Set<string>();
  for (const { name } of entries) {
    if (seen.has(name)) throw invalid(path, `each record once, got ${name} twice`);
    seen.add(name);
  }
}

/** The bytes of a record with its header. */
interface Extent {
  readonly record: ZipRecord;
  readonly from: number;
  readonly to: number;
}

/** The directory does not tell where the bytes begin, because the header before them has a length of its own. */
function locateRecord(file: BinaryFile, entry: Entry, limit: number): Extent {
  const { name, nameBytes, headerOffset, lengthBytes } = entry;
  const headerBytes = LOCAL_HEADER.bytes + nameBytes.length;
  const beyond = (to: number) =>
    invalid(file.path, `record ${name} to lie before byte ${limit}, got bytes ${headerOffset} to ${to}`);
  if (headerOffset + headerBytes > limit) throw beyond(headerOffset + headerBytes);
  const header = readBytes(file, headerOffset, headerBytes);
  if (header.readUInt32LE(0) !== LOCAL_HEADER.signature)
    throw invalid(file.path, `record ${name} at byte ${headerOffset}, got other bytes`);
  if (header.readUInt16LE(26) !== nameBytes.length || !header.subarray(LOCAL_HEADER.bytes).equals(nameBytes))
    throw invalid(file.path, `record ${name} at byte ${headerOffset}, got one of another name`);
  requireStored(file.path, name, header.readUInt16LE(6), header.readUInt16LE(8));
  const offsetBytes = headerOffset + headerBytes + header.readUInt16LE(28);
  const to = offsetBytes + lengthBytes;
  if (to > limit) throw beyond(to);
  return { record: { name, offsetBytes, lengthBytes }, from: headerOffset, to };
}

function requireDisjoint(path: string, extents: readonly Extent[]): void {
  const ordered = [...extents].sort((a, b) => a.from - b.from);
  for (const [index, { record, to }] of ordered.entries()) {
    const next = ordered[index + 1];
    if (next !== undefined && to > next.from)
      throw invalid(path, `record ${next.record.name} to have bytes of its own, got bytes that ${record.name} has too`);
  }
}

/** Reads a size of 64 bits. Numbers are exact up to 2^53, which no file reaches. */
function readSize(path: string, bytes: Buffer, offset: number): number {
  const size = bytes.readBigUInt64LE(offset);
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(path, `sizes that a file can have, got ${size}`);
  return Number(size);
}

function invalid(path: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: expected ${expected}.`);
}
