import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable, type Transform } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import { installFailure } from './install-failure.ts';

/** A compressed file in a zip archive: where its bytes lie, and how many it has. */
export interface ZipEntry {
  readonly name: string;
  readonly isDeflated: boolean;
  readonly storedBytes: number;
  readonly lengthBytes: number;
  /** Of its local header, which has a length of its own. */
  readonly headerOffset: number;
}

const LOCAL_HEADER_BYTES = 30;
const DIRECTORY_HEADER = { signature: 0x02014b50, bytes: 46 };
const END = { signature: 0x06054b50, bytes: 22 };
const MAX_COMMENT_BYTES = 0xffff;
/** Wheels and NuGet packages have some hundred entries. */
const MAX_DIRECTORY_BYTES = 4_000_000;
const DEFLATED = 8;

/**
 * Lists the entries of a wheel or a NuGet package. Format: PKWARE APPNOTE.TXT 6.3.10, without zip64, which archives of less
 * than 4 GB do not need. Checkpoints have a reader of their own (checkpoint/weights/zip-directory.ts), which trusts nothing;
 * this one reads files whose checksum fits.
 * @throws HandlerError `PROVIDER_INSTALL_FAILED`.
 */
export async function listZipEntries(path: string): Promise<readonly ZipEntry[]> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const tail = await readAt(file, Math.max(0, size - END.bytes - MAX_COMMENT_BYTES), size);
    const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
    if (end === -1 || tail.length - end < END.bytes) throw notAnArchive(path);
    const lengthBytes = tail.readUInt32LE(end + 12);
    const offset = tail.readUInt32LE(end + 16);
    if (offset + lengthBytes > size || lengthBytes > MAX_DIRECTORY_BYTES) throw notAnArchive(path);
    return readDirectory(await readAt(file, offset, offset + lengthBytes), path);
  } finally {
    await file.close();
  }
}

/** The bytes of an entry. The stream fails where they are not as many as the directory says. */
export async function openZipEntry(path: string, entry: ZipEntry): Promise<Readable> {
  const file = await open(path);
  try {
    const header = await readAt(file, entry.headerOffset, entry.headerOffset + LOCAL_HEADER_BYTES);
    if (header.length < LOCAL_HEADER_BYTES) throw notAnArchive(path);
    const start = entry.headerOffset + LOCAL_HEADER_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
    if (entry.storedBytes === 0) return Readable.from([]);
    const stored = createReadStream(path, { start, end: start + entry.storedBytes - 1, highWaterMark: 1 << 20 });
    return entry.isDeflated ? inflate(stored) : stored;
  } finally {
    await file.close();
  }
}

function inflate(stored: Readable): Transform {
  const inflated = createInflateRaw({ chunkSize: 1 << 20 });
  stored.on('error', (error) => inflated.destroy(error));
  return stored.pipe(inflated);
}

async function readAt(file: FileHandle, from: number, to: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(to - from), 0, to - from, from);
  return buffer.subarray(0, bytesRead);
}

function readDirectory(bytes: Buffer, path: string): readonly ZipEntry[] {
  const entries: ZipEntry[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < DIRECTORY_HEADER.bytes || bytes.readUInt32LE(at) !== DIRECTORY_HEADER.signature)
      throw notAnArchive(path);
    const nameEnd = at + DIRECTORY_HEADER.bytes + bytes.readUInt16LE(at + 28);
    entries.push({
      name: bytes.toString('utf8', at + DIRECTORY_HEADER.bytes, nameEnd),
      isDeflated: bytes.readUInt16LE(at + 10) === DEFLATED,
      storedBytes: bytes.readUInt32LE(at + 20),
      lengthBytes: bytes.readUInt32LE(at + 24),
      headerOffset: bytes.readUInt32LE(at + 42),
    });
    at = nameEnd + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return entries;
}

function notAnArchive(path: string): Error {
  return installFailure(`${path}: expected a whole zip archive, got other bytes.`);
}
