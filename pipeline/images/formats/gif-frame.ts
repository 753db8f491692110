import { wholePalette } from './palette.ts';

/**
 * The first frame of a GIF as a GIF of its own, which has no transparency, no other frame and no canvas around it.
 * Whoever decodes it gets each pixel's colour of the palette, also where the frame is transparent, as Pillow's
 * `convert("RGB")` does (GIF89a specification; PIL/GifImagePlugin.py).
 */

export interface Rgb {
  readonly r: number;
  readonly g: number;
  readonly b: number;
}

export interface GifFrame {
  /** Makes a GIF of this frame alone, which is a copy. */
  readonly makeFile: () => Uint8Array;
  readonly width: number;
  readonly height: number;
  /** Where the frame lies on the canvas. */
  readonly left: number;
  readonly top: number;
  readonly canvas: { readonly width: number; readonly height: number };
  /** The colour of the canvas outside the frame: the transparent index's, or else that of index 0. */
  readonly background: Rgb;
}

const SCREEN_BYTES = 13;
const DESCRIPTOR_BYTES = 9;
const [EXTENSION, IMAGE, TRAILER] = [0x21, 0x2c, 0x3b];
const GRAPHIC_CONTROL = 0xf9;

/** Reads a file from its start to its first image. Reading past the end gives zeros, and ends the search. */
export function readGifFrame(bytes: Uint8Array): GifFrame | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.length < SCREEN_BYTES) return undefined;
  const globalPalette = paletteAt(file, SCREEN_BYTES, file[10] ?? 0);
  const found = findImage(file, SCREEN_BYTES + globalPalette.length);
  if (found === undefined || found.at + DESCRIPTOR_BYTES >= file.length) return undefined;
  const [left = 0, top = 0, width = 0, height = 0] = [0, 2, 4, 6].map((offset) => file.readUInt16LE(found.at + offset));
  const flags = file[found.at + 8] ?? 0;
  const localPalette = paletteAt(file, found.at + DESCRIPTOR_BYTES, flags);
  const dataAt = found.at + DESCRIPTOR_BYTES + localPalette.length;
  if (width === 0 || height === 0 || dataAt >= file.length) return undefined;
  const palette = wholePalette((flags & 0x80) === 0 ? globalPalette : localPalette);
  const background = (found.transparentIndex ?? 0) * 3;
  return {
    makeFile: () =>
      Buffer.concat([
        fileStart({ width, height, isInterlaced: (flags & 0x40) !== 0 }, palette),
        file.subarray(dataAt, blocksEnd(file, dataAt + 1)),
        // An end for blocks that have none, and for the file.
        Buffer.of(0, TRAILER),
      ]),
    ...{ width, height, left, top },
    canvas: {
      width: Math.max(file.readUInt16LE(6), left + width),
      height: Math.max(file.readUInt16LE(8), top + height),
    },
    background: { r: palette[background] ?? 0, g: palette[background + 1] ?? 0, b: palette[background + 2] ?? 0 },
  };
}

/** The table of colours that the flags announce: red, green and blue for each. */
function paletteAt(file: Buffer, at: number, flags: number): Buffer {
  return (flags & 0x80) === 0 ? Buffer.alloc(0) : file.subarray(at, at + (3 << ((flags & 7) + 1)));
}

/** The first image descriptor, after its separator, and the transparent index of the extensions before it. */
function findImage(file: Buffer, start: number): { at: number; transparentIndex: number | undefined } | undefined {
  let transparentIndex: number | undefined;
  for (let at = start; at < file.length; ) {
    const introducer = file[at];
    if (introducer === IMAGE) return { at: at + 1, transparentIndex };
    if (introducer === TRAILER) return undefined;
    const isControl = introducer === EXTENSION && file[at + 1] === GRAPHIC_CONTROL && (file[at + 2] ?? 0) >= 4;
    if (isControl && ((file[at + 3] ?? 0) & 1) === 1) transparentIndex = file[at + 6];
    // Stray bytes between blocks are skipped.
    at = introducer === EXTENSION ? blocksEnd(file, at + 2) : at + 1;
  }
  return undefined;
}

/** The end of a chain of blocks, each of which begins with its length; the last one has length zero. */
function blocksEnd(file: Buffer, start: number): number {
  let at = start;
  for (let length = file[at] ?? 0; length !== 0; length = file[at] ?? 0) at += length + 1;
  return Math.min(at + 1, file.length);
}

function fileStart(frame: { width: number; height: number; isInterlaced: boolean }, palette: Uint8Array): Buffer {
  const screen = Buffer.from('GIF89a\0\0\0\0\xf7\0\0', 'latin1');
  const descriptor = Buffer.alloc(1 + DESCRIPTOR_BYTES, 0);
  descriptor[0] = IMAGE;
  descriptor[9] = frame.isInterlaced ? 0x40 : 0;
  for (const [header, at] of [[screen, 6] as const, [descriptor, 5] as const]) {
    header.writeUInt16LE(frame.width, at);
    header.writeUInt16LE(frame.height, at + 2);
  }
  return Buffer.concat([screen, palette, descriptor]);
}
