import { requireAtMost } from '../part-limit.ts';
import { ByteView } from './byte-view.ts';
import { type ImageStructure, plainStructure } from './structure.ts';

/** Writers use fewer than 100 entries. */
const MAX_ENTRIES = 1_000;
const COMPRESSION = 259;
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
  const compression = readCompression(view, layout, entriesAt, entryCount);
  return {
    ...plainStructure(withoutNextDirectory(view, layout, entriesAt + layout.entryBytes * entryCount)),
    isUnusual: !simpleCompressions.includes(compression),
  };
}

/** The compression that the first entry for it names. Without one, the pixels lie as they are. */
function readCompression(view: ByteView, { entryBytes }: Layout, from: number, entryCount: number): number {
  for (let index = 0; index < entryCount; index += 1) {
    const at = from + index * entryBytes;
    if (view.uint16(at) === COMPRESSION) return view.uint16(at + (entryBytes === 12 ? 8 : 12));
  }
  return 1;
}

function withoutNextDirectory(view: ByteView, layout: Layout, pointerAt: number): Uint8Array {
  const hasNext = layout.read(view, pointerAt) > 0;
  if (!hasNext) return view.bytes;
  const copy = Buffer.from(view.bytes);
  copy.fill(0, pointerAt, pointerAt + (layout === bigLayout ? 8 : 4));
  return copy;
}
