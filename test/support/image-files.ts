/** Writers of BMP and TIFF files as tests need them, right or wrong. */

export interface BitmapOptions {
  readonly compression?: number;
  readonly palette?: Buffer;
}

/** A bitmap with a header of 40 bytes. */
export function bitmap(
  bits: number,
  [width, height]: readonly [number, number],
  rows: Buffer,
  { compression = 0, palette = Buffer.alloc(0) }: BitmapOptions = {},
): Buffer {
  const header = Buffer.alloc(54);
  header.write('BM', 'latin1');
  header.writeUInt32LE(header.length + palette.length + rows.length, 2);
  header.writeUInt32LE(header.length + palette.length, 10);
  header.writeUInt32LE(40, 14);
  header.writeInt32LE(width, 18);
  header.writeInt32LE(height, 22);
  header.writeUInt16LE(1, 26);
  header.writeUInt16LE(bits, 28);
  header.writeUInt32LE(compression, 30);
  return Buffer.concat([header, palette, rows]);
}

/** A TIFF in little endian with samples from byte 8 on, and a directory of LONGs behind them. */
export function tiff(samples: Buffer, entries: Readonly<Record<number, readonly number[]>>): Buffer {
  const tags = Object.keys(entries)
    .map(Number)
    .sort((one, other) => one - other);
  const directoryAt = 8 + samples.length + (samples.length % 2);
  const directory = Buffer.alloc(2 + tags.length * 12 + 4);
  const values: Buffer[] = [];
  let valuesAt = directoryAt + directory.length;
  directory.writeUInt16LE(tags.length, 0);
  tags.forEach((tag, index) => {
    const data = Buffer.concat((entries[tag] ?? []).map(longBytes));
    directory.writeUInt16LE(tag, 2 + index * 12);
    directory.writeUInt16LE(4, 4 + index * 12);
    directory.writeUInt32LE(data.length / 4, 6 + index * 12);
    if (data.length === 4) data.copy(directory, 10 + index * 12);
    else {
      directory.writeUInt32LE(valuesAt, 10 + index * 12);
      values.push(data);
      valuesAt += data.length;
    }
  });
  const head = Buffer.concat([Buffer.from('II*\0', 'latin1'), longBytes(directoryAt)]);
  return Buffer.concat([head, samples, Buffer.alloc(samples.length % 2), directory, ...values]);
}

function longBytes(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
