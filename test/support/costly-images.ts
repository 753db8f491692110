import { crc32, deflateSync } from 'node:zlib';
import sharp, { type Sharp } from 'sharp';

/** Files within the limits of bytes and pixels that make decoders work for long. They are made, because they are large. */

/** One colour, which every format makes a small file of. */
export function plainPicture(width: number, height: number): Sharp {
  return sharp({ create: { width, height, channels: 3, background: '#c81e5a' }, limitInputPixels: false });
}

/** Noise, which every format makes a large file of. */
export function noisePicture(width: number, height: number): Sharp {
  return sharp({
    create: { width, height, channels: 3, background: '#808080', noise: { type: 'gaussian', mean: 128, sigma: 60 } },
    limitInputPixels: false,
  });
}

function bigEndian16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function bigEndian32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function littleEndian32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function littleEndian24(value: number): Buffer {
  return littleEndian32(value).subarray(0, 3);
}

/** A segment of a JPEG: its marker, its length, its data. */
export function jpegSegment(marker: number, data: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(0xff, marker), bigEndian16(data.length + 2), data]);
}

/** A JPEG with segments between its first marker and the rest. */
export function jpegBeginningWith(segments: Uint8Array, jpeg: Uint8Array): Buffer {
  return Buffer.concat([jpeg.subarray(0, 2), segments, jpeg.subarray(2)]);
}

/**
 * A progressive JPEG of one grey level: a scan of all DC values, then scans of one AC coefficient and one bit each, whose
 * blocks are all empty. The decoder walks through all blocks for every one of them.
 */
export function jpegOfManyScans(width: number, height: number, scans: number): Buffer {
  const blocks = Math.ceil(width / 8) * Math.ceil(height / 8);
  const frame = Buffer.concat([Buffer.of(8), bigEndian16(height), bigEndian16(width), Buffer.of(1, 1, 0x11, 0)]);
  const counts = (...lengths: number[]) => Buffer.from([...lengths, ...Array(16 - lengths.length).fill(0)]);
  const dcTable = Buffer.concat([Buffer.of(0x00), counts(1), Buffer.of(0)]);
  // The code of a run of 16,384 blocks or more that are empty, whose length follows in 14 bits; and of a run of one.
  const acTable = Buffer.concat([Buffer.of(0x10), counts(1, 1), Buffer.of(0xe0, 0x00)]);
  const scan = (first: number, last: number, high: number, low: number, data: Uint8Array) =>
    Buffer.concat([jpegSegment(0xda, Buffer.of(1, 1, 0, first, last, (high << 4) | low)), data]);
  const empty = emptyRuns(blocks);
  const acScans = Array.from({ length: scans - 1 }, (_, index) => {
    const [coefficient, bit] = [1 + (Math.floor(index / 14) % 63), 13 - (index % 14)];
    return scan(coefficient, coefficient, bit === 13 ? 0 : bit + 1, bit, empty);
  });
  return Buffer.concat([
    Buffer.of(0xff, 0xd8),
    jpegSegment(0xdb, Buffer.concat([Buffer.of(0), Buffer.alloc(64, 1)])),
    jpegSegment(0xc2, frame),
    jpegSegment(0xc4, dcTable),
    jpegSegment(0xc4, acTable),
    scan(0, 0, 0, 0, Buffer.alloc(Math.ceil(blocks / 8))),
    ...acScans,
    Buffer.of(0xff, 0xd9),
  ]);
}

/** Runs of 32,767 empty blocks, and one of the rest: each the bit 0 and 14 bits, or the bits 10 for a single block. */
function emptyRuns(blocks: number): Buffer {
  let bits = '';
  let left = blocks;
  for (; left >= 16_384; left -= Math.min(left, 32_767))
    bits += `0${(Math.min(left, 32_767) - 16_384).toString(2).padStart(14, '0')}`;
  bits += '10'.repeat(left);
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1');
  const bytes = bits.match(/.{8}/g)?.map((byte) => Number.parseInt(byte, 2)) ?? [];
  return Buffer.from(bytes.flatMap((byte) => (byte === 0xff ? [0xff, 0] : [byte])));
}

/** EXIF data in a directory of that many pointers, which all lead to the directory itself. */
export function loopingExif(pointers: number): Buffer {
  const bytes = Buffer.alloc(8 + 2 + 12 * pointers + 4);
  bytes.write('II*\0', 'latin1');
  bytes.writeUInt32LE(8, 4);
  bytes.writeUInt16LE(pointers, 8);
  for (let index = 0; index < pointers; index += 1) {
    const at = 10 + 12 * index;
    bytes.writeUInt16LE(index % 2 === 0 ? 0x8769 : 0x8825, at); // EXIF and GPS.
    bytes.writeUInt16LE(4, at + 2);
    bytes.writeUInt32LE(1, at + 4);
    bytes.writeUInt32LE(8, at + 8);
  }
  return bytes;
}

/** The segment of a JPEG that such EXIF data lie in. */
export function exifOfPointers(pointers: number): Buffer {
  return jpegSegment(0xe1, Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), loopingExif(pointers)]));
}

/** A chunk of a PNG. */
export function pngChunk(type: string, data: Uint8Array): Buffer {
  const content = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  return Buffer.concat([bigEndian32(data.length), content, bigEndian32(crc32(content))]);
}

/** A PNG with chunks after its header. */
export function pngWith(chunks: Uint8Array, png: Uint8Array): Buffer {
  return Buffer.concat([png.subarray(0, 33), chunks, png.subarray(33)]);
}

/** Equal bytes, again and again. */
export function repeated(bytes: Uint8Array, count: number): Buffer {
  return Buffer.alloc(bytes.length * count, bytes);
}

/** A chunk of a WebP: its name, its length, its data, filled up to an even length. */
export function webpChunk(name: string, data: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(name, 'latin1'), littleEndian32(data.length), data, Buffer.alloc(data.length % 2)]);
}

export function webpOf(...chunks: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat([Buffer.from('WEBP', 'latin1'), ...chunks]);
  return Buffer.concat([Buffer.from('RIFF', 'latin1'), littleEndian32(content.length), content]);
}

/** Where each frame of an animation lies on its canvas, and how large it is. */
interface FramePlace {
  /** Even numbers. */
  readonly x?: number;
  readonly y?: number;
  readonly frameWidth: number;
  readonly frameHeight: number;
}

/** An animation with the same frame, a WebP without loss, again and again. */
export function animatedWebp(
  frame: Uint8Array,
  canvas: { readonly width: number; readonly height: number },
  frames: number,
  { x = 0, y = 0, frameWidth, frameHeight }: FramePlace,
  rest: readonly Uint8Array[] = [],
): Buffer {
  const flags = rest.length > 0 ? 0x1a : 0x12; // EXIF, alpha, animation.
  const size = [littleEndian24(canvas.width - 1), littleEndian24(canvas.height - 1)];
  const placed = Buffer.concat([
    littleEndian24(x / 2),
    littleEndian24(y / 2),
    littleEndian24(frameWidth - 1),
    littleEndian24(frameHeight - 1),
    littleEndian24(100), // Milliseconds.
    Buffer.of(0),
    frame.subarray(12),
  ]);
  return webpOf(
    webpChunk('VP8X', Buffer.concat([Buffer.of(flags, 0, 0, 0), ...size])),
    webpChunk('ANIM', Buffer.alloc(6)),
    repeated(webpChunk('ANMF', placed), frames),
    ...rest,
  );
}

/** A GIF of one colour with the same frame again and again. */
export function animatedGif(side: number, frames: number, extensions: Uint8Array = Buffer.alloc(0)): Buffer {
  const screen = Buffer.alloc(13);
  screen.write('GIF89a', 'latin1');
  screen.writeUInt16LE(side, 6);
  screen.writeUInt16LE(side, 8);
  screen.writeUInt8(0x80, 10); // Two colours.
  const descriptor = Buffer.from([0x2c, 0, 0, 0, 0, side & 0xff, side >> 8, side & 0xff, side >> 8, 0]);
  const frame = Buffer.concat([descriptor, Buffer.of(2, 3, 0x44, 0x01, 0x05, 0)]);
  const palette = Buffer.of(200, 30, 90, 0, 0, 0);
  return Buffer.concat([screen, palette, extensions, repeated(frame, frames), Buffer.of(0x3b)]);
}

/** A GIF whose frame comes in blocks of one byte. */
export function gifOfSubBlocks(count: number): Buffer {
  const gif = animatedGif(16, 1);
  const dataAt = gif.indexOf(Buffer.of(0x2c)) + 11;
  return Buffer.concat([gif.subarray(0, dataAt), repeated(Buffer.of(1, 0x44), count), Buffer.of(0, 0x3b)]);
}

interface TiffChanges {
  readonly isBig?: boolean;
  /** Whether the last directory leads to the first one. */
  readonly isCircle?: boolean;
  readonly entries?: number;
  readonly strips?: number;
  /** Makes tiles of strips. */
  readonly tileSide?: number;
}

/** A TIFF of 8 x 8 grey pixels with many directories, which all have the same pixels. */
export function tiffOfDirectories(count: number, changes: TiffChanges = {}): Buffer {
  const { isBig = false, isCircle = false, strips = 1, tileSide } = changes;
  const [headerBytes, countBytes, entryBytes, offsetBytes] = isBig ? [16, 8, 20, 8] : [8, 2, 12, 4];
  const tags: readonly (readonly [tag: number, count: number, value: number])[] = [
    ...([
      [256, 1, 8],
      [257, 1, 8],
      [258, 1, 8],
      [259, 1, 1],
      [262, 1, 1],
    ] as const),
    ...(tileSide === undefined
      ? ([
          [273, strips, 0],
          [277, 1, 1],
          [278, 1, 8],
          [279, 1, 64],
        ] as const)
      : []),
    ...(tileSide === undefined
      ? []
      : ([
          [277, 1, 1],
          [322, 1, tileSide],
          [323, 1, tileSide],
          [324, 1, 0],
          [325, 1, 64],
        ] as const)),
    ...Array.from({ length: Math.max(0, (changes.entries ?? 0) - 9) }, (_, index) => [40_000 + index, 1, 0] as const),
  ];
  const directoryBytes = countBytes + tags.length * entryBytes + offsetBytes;
  const bytes = Buffer.alloc(headerBytes + 64 + count * directoryBytes);
  const firstAt = headerBytes + 64;
  const writeOffset = (value: number, at: number) =>
    isBig ? bytes.writeBigUInt64LE(BigInt(value), at) : bytes.writeUInt32LE(value, at);
  bytes.write(isBig ? 'II+\0\x08\0\0\0' : 'II*\0', 'latin1');
  writeOffset(firstAt, isBig ? 8 : 4);
  for (let index = 0; index < count; index += 1) {
    const at = firstAt + index * directoryBytes;
    if (isBig) writeOffset(tags.length, at);
    else bytes.writeUInt16LE(tags.length, at);
    tags.forEach(([tag, valueCount, value], entry) => {
      const entryAt = at + countBytes + entry * entryBytes;
      bytes.writeUInt16LE(tag, entryAt);
      bytes.writeUInt16LE(4, entryAt + 2); // LONG.
      writeOffset(valueCount, entryAt + 4);
      bytes.writeUInt32LE(tag === 273 || tag === 324 ? headerBytes : value, entryAt + 4 + offsetBytes);
    });
    const isLast = index === count - 1;
    writeOffset(isLast ? (isCircle ? firstAt : 0) : at + directoryBytes, at + directoryBytes - offsetBytes);
  }
  return bytes;
}

/** A box of ISO-BMFF. */
export function box(type: string, ...content: readonly Uint8Array[]): Buffer {
  const data = Buffer.concat(content);
  return Buffer.concat([bigEndian32(data.length + 8), Buffer.from(type, 'latin1'), data]);
}

export const fullBox = (type: string, version: number, ...content: readonly Uint8Array[]): Buffer =>
  box(type, Buffer.of(version, 0, 0, 0), ...content);

/** An AVIF that is a grid of tiles, which all are the same bytes. */
export async function avifGrid(tileSide: number, columns: number, rows: number): Promise<Buffer> {
  const tile = await plainPicture(tileSide, tileSide).avif({ effort: 0 }).toBuffer();
  const boxOf = (type: string) => {
    const at = tile.indexOf(type) - 4;
    return tile.subarray(at, at + tile.readUInt32BE(at));
  };
  const payload = tile.subarray(tile.indexOf('mdat') + 4);
  const tiles = columns * rows;
  const ids = Array.from({ length: tiles }, (_, index) => index + 2);
  const item = (id: number, type: string) =>
    fullBox('infe', 2, bigEndian16(id), Buffer.alloc(2), Buffer.from(`${type}\0`, 'latin1'));
  const size = fullBox('ispe', 0, bigEndian32(tileSide * columns), bigEndian32(tileSide * rows));
  const properties = box('ipco', size, boxOf('ispe'), boxOf('av1C'), boxOf('pixi'));
  const association = (id: number, ...indexes: number[]) =>
    Buffer.concat([bigEndian16(id), Buffer.of(indexes.length, ...indexes)]);
  const associations = fullBox(
    'ipma',
    0,
    bigEndian32(tiles + 1),
    association(1, 1, 4),
    ...ids.map((id) => association(id, 2, 0x83, 4)),
  );
  const grid = Buffer.concat([
    Buffer.of(0, 1, rows - 1, columns - 1),
    bigEndian32(tileSide * columns),
    bigEndian32(tileSide * rows),
  ]);
  const location = (id: number, method: number, offset: number, length: number) =>
    Buffer.concat([
      bigEndian16(id),
      bigEndian16(method),
      bigEndian16(0),
      bigEndian16(1),
      bigEndian32(offset),
      bigEndian32(length),
    ]);
  const meta = (dataAt: number) =>
    fullBox(
      'meta',
      0,
      fullBox('hdlr', 0, Buffer.alloc(4), Buffer.from('pict', 'latin1'), Buffer.alloc(13)),
      fullBox('pitm', 0, bigEndian16(1)),
      fullBox(
        'iloc',
        1,
        Buffer.of(0x44, 0x00),
        bigEndian16(tiles + 1),
        location(1, 1, 0, grid.length),
        ...ids.map((id) => location(id, 0, dataAt, payload.length)),
      ),
      fullBox('iinf', 0, bigEndian16(tiles + 1), item(1, 'grid'), ...ids.map((id) => item(id, 'av01'))),
      box('iprp', properties, associations),
      fullBox('iref', 0, box('dimg', bigEndian16(1), bigEndian16(tiles), ...ids.map(bigEndian16))),
      box('idat', grid),
    );
  const type = box('ftyp', Buffer.from('avif\0\0\0\0avifmif1miaf', 'latin1'));
  const dataAt = type.length + meta(0).length + 8;
  return Buffer.concat([type, meta(dataAt), box('mdat', payload)]);
}

/** 200 MB of zeros, compressed, behind a name: what zTXt and iCCP of PNG hold. */
export function compressedZeros(): Buffer {
  return Buffer.concat([Buffer.from('name\0\0', 'latin1'), deflateSync(Buffer.alloc(200_000_000))]);
}
