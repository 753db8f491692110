import { setImmediate } from 'node:timers/promises';
import { CHANNELS } from '../rgb-image.ts';
import { type BmpHeader, readBmpHeader } from './bmp-header.ts';
import { unpackRunLengths } from './bmp-run-lengths.ts';
import type { OpenedImage } from './opened-image.ts';

/** Writes the red, green and blue of a row of pixels to the target, from a place on. */
type RowReader = (row: Buffer, target: Uint8Array, targetAt: number) => void;

/** Between so many pixels, other work of the thread has its turn: some milliseconds. */
const PIXELS_AT_A_TIME = 500_000;

/**
 * Opens a Windows or OS/2 bitmap, whose pixels are those that Pillow's `convert("RGB")` gives. Alpha is dropped.
 * @returns `undefined` for a bitmap that is cut off or of a kind that is not read.
 */
export async function openBmp(bytes: Uint8Array): Promise<OpenedImage | undefined> {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = readBmpHeader(file);
  if (header === undefined) return undefined;
  const { width, height } = header;
  return {
    ...{ width, height, isProgressive: false, channels: CHANNELS },
    async decode() {
      const data = await readPixels(file, header);
      if (data === undefined) throw new Error('Expected the pixels of a bitmap, got the end of its file.');
      return { width, height, data };
    },
  };
}

/** [height, width, 3], or `undefined` where the file ends before its pixels. */
async function readPixels(file: Buffer, header: BmpHeader): Promise<Uint8Array | undefined> {
  const { width, height, packing, pixelsAt } = header;
  if (packing === 'none') {
    // Rows are padded to four bytes.
    const strideBytes = Math.ceil((width * header.bits) / 32) * 4;
    const rowBytes = Math.ceil((width * header.bits) / 8);
    if (pixelsAt + (height - 1) * strideBytes + rowBytes > file.length) return undefined;
    return await readRows(file.subarray(pixelsAt), strideBytes, header, rowReader(header));
  }
  const indices = await unpackRunLengths(file, header);
  return indices && (await readRows(indices, width, header, indexReader({ ...header, bits: 8 })));
}

async function readRows(rows: Buffer, strideBytes: number, header: BmpHeader, read: RowReader): Promise<Uint8Array> {
  const { width, height, isTopDown } = header;
  const pixels = Buffer.allocUnsafe(width * height * CHANNELS);
  const rowsAtATime = Math.ceil(PIXELS_AT_A_TIME / width);
  for (let y = 0; y < height; y += 1) {
    if (y % rowsAtATime === rowsAtATime - 1) await setImmediate();
    const targetY = isTopDown ? y : height - 1 - y;
    read(rows.subarray(y * strideBytes, (y + 1) * strideBytes), pixels, targetY * width * CHANNELS);
  }
  return pixels;
}

function rowReader(header: BmpHeader): RowReader {
  if (header.bits <= 8) return indexReader(header);
  const [red, green, blue] = header.masks;
  const isPlain = red === 0xff0000 && green === 0xff00 && blue === 0xff && header.bits >= 24;
  return isPlain ? bytesReader(header) : masksReader(header);
}

/** Bits of a row from the highest of each byte on. */
function indexReader({ width, bits, palette }: Pick<BmpHeader, 'width' | 'bits' | 'palette'>): RowReader {
  const perByte = 8 / bits;
  const lastIndex = 2 ** bits - 1;
  return (row, target, targetAt) => {
    for (let x = 0, at = targetAt; x < width; x += 1, at += CHANNELS) {
      const byte = row[Math.floor(x / perByte)] ?? 0;
      const colour = ((byte >> (8 - bits * ((x % perByte) + 1))) & lastIndex) * CHANNELS;
      target[at] = palette[colour] ?? 0;
      target[at + 1] = palette[colour + 1] ?? 0;
      target[at + 2] = palette[colour + 2] ?? 0;
    }
  };
}

/** Blue, green, red, and a fourth byte where a colour has 32 bits. */
function bytesReader({ width, bits }: BmpHeader): RowReader {
  const step = bits / 8;
  return (row, target, targetAt) => {
    for (let x = 0, from = 0, at = targetAt; x < width; x += 1, from += step, at += CHANNELS) {
      target[at] = row[from + 2] ?? 0;
      target[at + 1] = row[from + 1] ?? 0;
      target[at + 2] = row[from] ?? 0;
    }
  };
}

function masksReader({ width, bits, masks }: BmpHeader): RowReader {
  const step = bits / 8;
  const isShort = step === 2;
  const [red, green, blue] = masks.map(channelReader);
  if (red === undefined || green === undefined || blue === undefined) return () => undefined;
  return (row, target, targetAt) => {
    for (let x = 0, at = targetAt; x < width; x += 1, at += CHANNELS) {
      const from = x * step;
      const lower = (row[from] ?? 0) | ((row[from + 1] ?? 0) << 8);
      const colour = isShort ? lower : lower | ((row[from + 2] ?? 0) << 16) | ((row[from + 3] ?? 0) << 24);
      target[at] = red(colour);
      target[at + 1] = green(colour);
      target[at + 2] = blue(colour);
    }
  };
}

/** The bits of a mask, as a number from 0 to 255. */
function channelReader(mask: number): (colour: number) => number {
  if (mask === 0) return () => 0;
  const shift = 31 - Math.clz32(mask & -mask);
  const highest = mask >>> shift;
  return (colour) => Math.floor((((colour & mask) >>> shift) * 255) / highest);
}
