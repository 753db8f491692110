import { requireAtMost } from '../part-limit.ts';

/** Values of a tag of a TIFF file. */
export interface TiffField {
  readonly type: number;
  readonly values: readonly number[];
}

export interface TiffDirectory {
  readonly isLittleEndian: boolean;
  readonly fields: ReadonlyMap<number, TiffField>;
}

interface Layout {
  readonly isLittleEndian: boolean;
  /** BigTIFF has offsets of eight bytes. */
  readonly isBig: boolean;
  readonly directoryAt: number;
}

/** Bytes of the types whose values are whole numbers, by TIFF 6.0 and BigTIFF: BYTE, SHORT, LONG, LONG8 and their kin. */
const numberBytes: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [3, 2],
  [4, 4],
  [6, 1],
  [7, 1],
  [8, 2],
  [9, 4],
  [13, 4],
  [16, 8],
]);
/** More strips or tiles than an image within the limits has. */
const MAX_VALUES = 100_000;

/**
 * Reads the first directory of a TIFF file, classic or big, with the whole numbers of the tags that are asked for, as
 * Pillow does (PIL/TiffImagePlugin.py): the first entry of a tag counts, and entries that lie outside the file do not.
 * @returns `undefined` where the file has no directory.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readTiffDirectory(file: Buffer, tags: ReadonlySet<number>): TiffDirectory | undefined {
  const layout = readLayout(file);
  if (layout === undefined) return undefined;
  const { isLittleEndian, isBig, directoryAt } = layout;
  const read = reader(file, isLittleEndian);
  const [countBytes, entryBytes] = isBig ? [8, 20] : [2, 12];
  const entriesAt = directoryAt + countBytes;
  if (entriesAt > file.length) return undefined;
  const entries = Math.min(read(directoryAt, countBytes), Math.floor((file.length - entriesAt) / entryBytes));
  const fields = new Map<number, TiffField>();
  for (let at = entriesAt; at < entriesAt + entries * entryBytes; at += entryBytes) {
    const tag = read(at, 2);
    if (!tags.has(tag) || fields.has(tag)) continue;
    const field = readField(file, at, layout);
    if (field !== undefined) fields.set(tag, field);
  }
  return { isLittleEndian, fields };
}

function readLayout(file: Buffer): Layout | undefined {
  const isLittleEndian = file.toString('latin1', 0, 2) === 'II';
  const isBig = file[2] === 43 || file[3] === 43;
  if (file.length < (isBig ? 16 : 8)) return undefined;
  const read = reader(file, isLittleEndian);
  return { isLittleEndian, isBig, directoryAt: isBig ? read(8, 8) : read(4, 4) };
}

/** Reads whole numbers without a sign. Those of eight bytes lose precision beyond any place in a file. */
function reader(file: Buffer, isLittleEndian: boolean): (at: number, length: number) => number {
  return (at, length) => {
    if (length === 8) return Number(isLittleEndian ? file.readBigUInt64LE(at) : file.readBigUInt64BE(at));
    return isLittleEndian ? file.readUIntLE(at, length) : file.readUIntBE(at, length);
  };
}

function readField(file: Buffer, at: number, { isLittleEndian, isBig }: Layout): TiffField | undefined {
  const read = reader(file, isLittleEndian);
  const offsetBytes = isBig ? 8 : 4;
  const type = read(at + 2, 2);
  const count = read(at + 4, offsetBytes);
  const bytes = numberBytes.get(type);
  if (bytes === undefined || count === 0) return undefined;
  const inlineAt = at + 4 + offsetBytes;
  const valuesAt = bytes * count > offsetBytes ? read(inlineAt, offsetBytes) : inlineAt;
  if (valuesAt + bytes * count > file.length) return undefined;
  // Long rows of bytes are texts, which the pixels do not need.
  if (bytes === 1 && count > MAX_VALUES) return undefined;
  requireAtMost(MAX_VALUES, count, 'strips, tiles or other values of a TIFF tag');
  return { type, values: Array.from({ length: count }, (_, index) => read(valuesAt + index * bytes, bytes)) };
}
