import type { ByteView } from './byte-view.ts';

/** The content of a box of ISO-BMFF. */
export interface Box {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** A part of a file that belongs to an item. */
export interface ItemExtent {
  readonly itemId: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Where the items of a picture lie in the file.
 * @param locations the box `iloc`. Source: ISO/IEC 14496-12, 8.11.3.
 * @param dataAt where the content of the box `idat` begins.
 */
export function readItemLocations(view: ByteView, locations: Box, dataAt: number): readonly ItemExtent[] {
  const layout = readLayout(view, locations.from);
  const extents: ItemExtent[] = [];
  for (let at = locations.from + 6 + layout.idBytes; at < locations.to; ) {
    const itemId = layout.number(at, layout.idBytes);
    at += layout.idBytes;
    const isInside = layout.version > 0 && (view.uint16(at) & 0x0f) === 1;
    at += layout.version > 0 ? 4 : 2; // Where the data lie, and an index of files.
    const base = layout.number(at, layout.baseBytes) + (isInside ? dataAt : 0);
    const count = view.uint16(at + layout.baseBytes) || 0;
    at += layout.baseBytes + 2;
    for (let index = 0; index < count && at < locations.to; index += 1) {
      const from = base + layout.number(at + layout.indexBytes, layout.offsetBytes);
      const length = layout.number(at + layout.indexBytes + layout.offsetBytes, layout.lengthBytes);
      extents.push({ itemId, from, to: length === 0 ? view.length : from + length });
      at += Math.max(1, layout.indexBytes + layout.offsetBytes + layout.lengthBytes);
    }
  }
  return extents;
}

function readLayout(view: ByteView, from: number) {
  const version = view.uint8(from);
  const [sizes, moreSizes] = [view.uint8(from + 4), view.uint8(from + 5)];
  return {
    version,
    idBytes: version < 2 ? 2 : 4,
    offsetBytes: sizes >> 4,
    lengthBytes: sizes & 0x0f,
    baseBytes: moreSizes >> 4,
    indexBytes: version === 0 ? 0 : moreSizes & 0x0f,
    number: (at: number, byteCount: number) =>
      byteCount === 8 ? view.uint64(at) : byteCount === 4 ? view.uint32(at) : byteCount === 2 ? view.uint16(at) : 0,
  };
}
