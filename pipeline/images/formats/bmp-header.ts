import { INDICES, wholePalette } from './palette.ts';

/** The header of a bitmap: all that stands before its pixels. */
export interface BmpHeader {
  readonly width: number;
  readonly height: number;
  /** Most bitmaps begin with their lowest row. */
  readonly isTopDown: boolean;
  /** Of one pixel: 1, 2, 4 or 8 for an index of the palette, 16, 24 or 32 for a colour. */
  readonly bits: number;
  readonly packing: 'none' | 'rle8' | 'rle4';
  /** The first byte of the pixels. */
  readonly pixelsAt: number;
  /** Red, green and blue of each index. */
  readonly palette: Uint8Array;
  /** The bits of red, green and blue in a colour. */
  readonly masks: readonly [red: number, green: number, blue: number];
}

/** Bytes of the header of the file, before that of the bitmap. */
const FILE_HEADER_BYTES = 14;
/** OS/2 1: sizes have 16 bits, and a colour of the palette has three bytes. */
const OLD_HEADER_BYTES = 12;
/** From this size on, a header has masks of its own. */
const MASKS_HEADER_BYTES = 52;
const BIT_FIELDS = 3;
const packings: ReadonlyMap<number, BmpHeader['packing']> = new Map([
  [0, 'none'],
  [1, 'rle8'],
  [2, 'rle4'],
  [BIT_FIELDS, 'none'],
]);
const plainMasks: Readonly<Record<number, BmpHeader['masks']>> = {
  16: [0x7c00, 0x3e0, 0x1f],
  24: [0xff0000, 0xff00, 0xff],
  32: [0xff0000, 0xff00, 0xff],
};
const MAX_COLOURS = 65_536;

/** Where the parts of a bitmap lie, and how many colours its palette has. */
interface Layout {
  readonly headerBytes: number;
  readonly colourBytes: number;
  readonly colours: number;
  readonly compression: number;
}

/**
 * Reads the headers of Windows and OS/2 bitmaps as Pillow does (PIL/BmpImagePlugin.py; "Bitmap Storage" of Windows GDI).
 * Returns `undefined` for one that is cut off, or of a kind that is never found outside printers: JPEG or PNG within BMP.
 */
export function readBmpHeader(file: Buffer): BmpHeader | undefined {
  if (file.length < FILE_HEADER_BYTES + OLD_HEADER_BYTES) return undefined;
  const headerBytes = file.readUInt32LE(FILE_HEADER_BYTES);
  if (file.length < FILE_HEADER_BYTES + headerBytes) return undefined;
  const isOld = headerBytes === OLD_HEADER_BYTES;
  const bits = file.readUInt16LE(isOld ? 24 : 28);
  const compression = isOld ? 0 : file.readUInt32LE(30);
  const colours = (isOld ? 0 : file.readUInt32LE(46)) || 2 ** bits;
  const layout = { headerBytes, colourBytes: isOld ? 3 : 4, colours, compression };
  const packing = packings.get(compression);
  const size = isOld ? oldSize(file) : newSize(file);
  if (packing === undefined || size.width === 0 || size.height === 0) return undefined;
  const body = bits <= 8 ? indexed(file, layout, bits) : coloured(file, layout, bits);
  return body && { ...size, bits, packing, ...body };
}

function oldSize(file: Buffer) {
  return { width: file.readUInt16LE(18), height: file.readUInt16LE(20), isTopDown: false };
}

/** A negative height says that the first row is the highest. */
function newSize(file: Buffer) {
  const height = file.readInt32LE(22);
  return { width: file.readUInt32LE(18), height: Math.abs(height), isTopDown: height < 0 };
}

type Body = Pick<BmpHeader, 'pixelsAt' | 'palette' | 'masks'>;

function indexed(file: Buffer, layout: Layout, bits: number): Body | undefined {
  const { headerBytes, colourBytes, colours, compression } = layout;
  const isKnown = [1, 2, 4, 8].includes(bits) && compression !== BIT_FIELDS && colours <= MAX_COLOURS;
  if (!isKnown) return undefined;
  const paletteAt = FILE_HEADER_BYTES + headerBytes;
  const saidAt = file.readUInt32LE(10);
  // Some programs forget the palette where they say where the pixels begin.
  const pixelsAt = saidAt === paletteAt || saidAt === 0 ? paletteAt + colours * colourBytes : saidAt;
  const colourTable = file.subarray(paletteAt, paletteAt + colours * colourBytes);
  return { pixelsAt, palette: readPalette(colourTable, colourBytes), masks: [0, 0, 0] };
}

/** Colours lie as blue, green, red. */
function readPalette(table: Buffer, colourBytes: number): Uint8Array {
  const named = Math.min(INDICES, Math.floor(table.length / colourBytes));
  return wholePalette(
    Uint8Array.from({ length: named * 3 }, (_, at) => table[Math.floor(at / 3) * colourBytes + 2 - (at % 3)] ?? 0),
  );
}

function coloured(file: Buffer, { headerBytes, compression }: Layout, bits: number): Body | undefined {
  const plain = plainMasks[bits];
  const masksAt = FILE_HEADER_BYTES + (headerBytes < MASKS_HEADER_BYTES ? headerBytes : 40);
  const hasMasks = compression === BIT_FIELDS;
  const isKnown = compression === 0 || (hasMasks && file.length >= masksAt + 12);
  if (plain === undefined || !isKnown) return undefined;
  const end = hasMasks && headerBytes < MASKS_HEADER_BYTES ? masksAt + 12 : FILE_HEADER_BYTES + headerBytes;
  const pixelsAt = file.readUInt32LE(10) || end;
  const palette = new Uint8Array();
  if (!hasMasks) return { pixelsAt, palette, masks: plain };
  const [red, green, blue] = [0, 4, 8].map((offset) => file.readUInt32LE(masksAt + offset));
  // Masks of nothing stand for the usual order.
  const masks: BmpHeader['masks'] = red || green || blue ? [red ?? 0, green ?? 0, blue ?? 0] : plain;
  return { pixelsAt, palette, masks };
}
