import type { TiffField } from './tiff-directory.ts';

/** Types of TIFF 6.0 by the bytes of a value; eight bytes of BigTIFF become four. */
const writtenTypes: Readonly<Record<number, readonly [type: number, bytes: number]>> = {
  1: [1, 1],
  3: [3, 2],
  6: [1, 1],
  7: [7, 1],
  8: [3, 2],
};
const [LONG, LONG_BYTES] = [4, 4];
const ENTRY_BYTES = 12;

/**
 * A TIFF file with the samples of another one and a directory of its own, which is the only one. The new directory lies
 * behind the old file, so that all offsets stay.
 */
export function withDirectory(file: Buffer, isLittleEndian: boolean, fields: ReadonlyMap<number, TiffField>): Buffer {
  const directoryAt = file.length + (file.length % 2);
  const sorted = [...fields].sort(([first], [second]) => first - second);
  let valuesAt = directoryAt + 2 + sorted.length * ENTRY_BYTES + 4;
  const entries = Buffer.alloc(2 + sorted.length * ENTRY_BYTES + 4);
  const values: Buffer[] = [];
  const write = writer(isLittleEndian);
  write(entries, 0, 2, sorted.length);
  sorted.forEach(([tag, field], index) => {
    const at = 2 + index * ENTRY_BYTES;
    const [type, valueBytes] = writtenTypes[field.type] ?? [LONG, LONG_BYTES];
    const data = Buffer.alloc(Math.max(4, valueBytes * field.values.length));
    field.values.forEach((value, place) => {
      write(data, place * valueBytes, valueBytes, value % 2 ** (8 * valueBytes));
    });
    write(entries, at, 2, tag);
    write(entries, at + 2, 2, type);
    write(entries, at + 4, 4, field.values.length);
    if (data.length === 4) data.copy(entries, at + 8);
    else {
      write(entries, at + 8, 4, valuesAt);
      values.push(data);
      valuesAt += data.length;
    }
  });
  const written = Buffer.concat([file, Buffer.alloc(directoryAt - file.length), entries, ...values]);
  written.write(isLittleEndian ? 'II*\0' : 'MM\0*', 'latin1');
  write(written, 4, 4, directoryAt);
  return written;
}

function writer(isLittleEndian: boolean): (target: Buffer, at: number, length: number, value: number) => void {
  return (target, at, length, value) => {
    if (isLittleEndian) target.writeUIntLE(value, at, length);
    else target.writeUIntBE(value, at, length);
  };
}
