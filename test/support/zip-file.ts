import { integers } from './pickle-bytes.ts';

/** A zip archive with the offsets of its parts, for tests that change them. */
export interface ZipFile {
  readonly bytes: Buffer;
  /** The offset of the header before a record. */
  readonly header: (name: string) => number;
  /** The offset of a record's entry in the directory. */
  readonly entry: (name: string) => number;
  /** The offsets of the directory and of its end. */
  readonly directory: number;
  readonly end: number;
}

export type ZipContent = readonly (readonly [name: string, data: Uint8Array | string])[];

/** A zip archive of stored records. It has no checksums, because none are read. */
export function zipFile(records: ZipContent): ZipFile {
  const headers: Part[] = records.map(([name, data]) => {
    const bytes = Buffer.from(data);
    return { name, bytes: Buffer.concat([zipHeader(name, bytes.length), bytes]) };
  });
  const [headerOffsets, directory] = places(headers, 0);
  const entries: Part[] = records.map(([name, data], index) => ({
    name,
    bytes: zipEntry(name, Buffer.from(data).length, headerOffsets[index]?.offset ?? 0),
  }));
  const [entryOffsets, end] = places(entries, directory);
  const last = zipEnd(records.length, end - directory, directory);
  const find = (list: readonly Place[]) => (name: string) => list.find((place) => place.name === name)?.offset ?? -1;
  return {
    bytes: Buffer.concat([...headers, ...entries, { bytes: last }].map(({ bytes }) => bytes)),
    header: find(headerOffsets),
    entry: find(entryOffsets),
    directory,
    end,
  };
}

/** The header before a record's bytes. */
export function zipHeader(name: string, sizeBytes: number): Buffer {
  const nameBytes = Buffer.from(name);
  const header = integers('4 2 2 2 4 4 4 4 2 2', 0x04034b50, 0, 0, 0, 0, 0, sizeBytes, sizeBytes, nameBytes.length);
  return Buffer.concat([header, nameBytes]);
}

/** The entry of a record in the directory; `extra` has extra fields. */
export function zipEntry(
  name: string,
  sizeBytes: number,
  headerOffset: number,
  extra: Buffer = Buffer.alloc(0),
): Buffer {
  const nameBytes = Buffer.from(name);
  return Buffer.concat([
    integers('4 2 2 2 2 4 4 4 4', 0x02014b50, 0, 0, 0, 0, 0, 0, sizeBytes, sizeBytes),
    integers('2 2 2 2 2 4 4', nameBytes.length, extra.length, 0, 0, 0, 0, headerOffset),
    nameBytes,
    extra,
  ]);
}

/** The end of the directory, and of the file. */
export function zipEnd(entryCount: number, sizeBytes: number, offset: number): Buffer {
  return integers('4 2 2 2 2 4 4 2', 0x06054b50, 0, 0, entryCount, entryCount, sizeBytes, offset);
}

/** The end in fields of 64 bits, at offset `at`, with the locator that points there. */
export function zip64End(
  entryCount: number | bigint,
  sizeBytes: number | bigint,
  offset: number | bigint,
  at: number | bigint,
): Buffer {
  return Buffer.concat([
    integers('4 8 2 2 4 4 8 8 8 8', 0x06064b50, 44, 45, 45, 0, 0, entryCount, entryCount, sizeBytes, offset),
    integers('4 4 8 4', 0x07064b50, 0, at, 1),
  ]);
}

interface Part {
  readonly name: string;
  readonly bytes: Buffer;
}

interface Place {
  readonly name: string;
  readonly offset: number;
}

/** The offsets of parts that follow each other, and their end. */
function places(parts: readonly Part[], from: number): readonly [places: readonly Place[], end: number] {
  let end = from;
  const found = parts.map(({ name, bytes }) => {
    const offset = end;
    end += bytes.length;
    return { name, offset };
  });
  return [found, end];
}
