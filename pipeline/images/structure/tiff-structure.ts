import { ByteView } from './byte-view.ts';
import { type ImageStructure, plainStructure, requireAtMost } from './structure.ts';

/** Writers use fewer than 100 entries. */
const MAX_ENTRIES = 1_000;
/** The most strips or tiles. A strip for each row of the longest side takes 16,384; tiles of 16 x 16 take more. */
const MAX_PARTS = 100_000;
/** The most pixels of a tile, which is decoded whole, however small the image is. */
const MAX_TILE_PIXELS = 16_777_216;
const tags = { compression: 259, stripOffsets: 273, tileWidth: 322, tileLength: 323, tileOffsets: 324 };
/** None, LZW, deflate (two numbers) and PackBits: their work follows from the pixels. Source: libtiff, tiff.h. */
const simpleCompressions: readonly number[] = [1, 5, 8, 32_773, 32_946];

/** How a file numbers its bytes: as TIFF, or as BigTIFF. */
interface Layout {
  readonly countBytes: 2 | 8;
  readonly entryBytes: 12 | 20;
  readonly read: (view: ByteView, at: number) => number;
}
const classicLayout: Layout = { countBytes: 2, entryBytes: 12, read: (view, at) => view.uint32(at) };
const bigLayout: Layout = { countBytes: 8, entryBytes: 20, read: (view, at) => view.uint64(at) };

/**
 * Keeps the first directory: the decoder counts all before it reads one, in a circle too.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readTiffStructure(bytes: Uint8Array): ImageStructure {
  const view = new ByteView(bytes, bytes[0] === 0x49);
  const layout = view.uint16(2) === 43 ? bigLayout : classicLayout;
  const directoryAt = layout.read(view, layout === bigLayout ? 8 : 4);
  const entryCount = layout === bigLayout ? view.uint64(directoryAt) : view.uint16(directoryAt);
  if (Number.isNaN(entryCount)) return plainStructure(bytes);
  requireAtMost(MAX_ENTRIES, entryCount, 'entries of a directory');
  const entriesAt = directoryAt + layout.countBytes;
  const entries = readEntries(view, layout, entriesAt, entryCount);
  const parts = Math.max(entries.get(tags.stripOffsets)?.count ?? 0, entries.get(tags.tileOffsets)?.count ?? 0);
  requireAtMost(MAX_PARTS, parts, 'strips or tiles');
  const tilePixels = (entries.get(tags.tileWidth)?.value ?? 0) * (entries.get(tags.tileLength)?.value ?? 0);
  requireAtMost(MAX_TILE_PIXELS, tilePixels, 'pixels in a tile');
  return {
    ...plainStructure(withoutNextDirectory(view, layout, entriesAt + layout.entryBytes * entryCount)),
    isUnusual: !simpleCompressions.includes(entries.get(tags.compression)?.value ?? 1),
  };
}

interface Entry {
  readonly count: number;
  /** Of an entry with one whole number. */
  readonly value: number;
}

/** The entries by tag: the first of each, as libtiff reads them. */
function readEntries(view: ByteView, layout: Layout, from: number, entryCount: number): ReadonlyMap<number, Entry> {
  const entries = new Map<number, Entry>();
  for (let index = 0; index < entryCount; index += 1) {
    const at = from + index * layout.entryBytes;
    const [tag, isShort] = [view.uint16(at), view.uint16(at + 2) === 3];
    const valueAt = at + (layout.entryBytes === 12 ? 8 : 12);
    const value = isShort ? view.uint16(valueAt) : view.uint32(valueAt);
    if (!entries.has(tag)) entries.set(tag, { count: layout.read(view, at + 4), value });
  }
  return entries;
}

function withoutNextDirectory(view: ByteView, layout: Layout, pointerAt: number): Uint8Array {
  const hasNext = layout.read(view, pointerAt) > 0;
  if (!hasNext) return view.bytes;
  const copy = Buffer.from(view.bytes);
  copy.fill(0, pointerAt, pointerAt + (layout === bigLayout ? 8 : 4));
  return copy;
}
