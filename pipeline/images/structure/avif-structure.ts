import { requireAtMost } from '../part-limit.ts';
import { ByteView } from './byte-view.ts';
import { countExifEntries } from './exif-structure.ts';
import { type Box, readItemLocations } from './item-locations.ts';
import { type ImageStructure, plainStructure } from './structure.ts';

/** A picture of many tiles has a few boxes for each. libheif takes 256 items. */
const MAX_BOXES = 10_000;
/** EXIF data lie in one piece, so that they can be looked at without joining pieces. */
const MAX_EXIF_EXTENTS = 1;
/** Readers of EXIF look for its byte order behind an offset and a prefix. */
const EXIF_PREFIX_BYTES = 64;
/** Items that are AV1 pictures, or say something about them. All others are put together of pictures. */
const plainItems: readonly string[] = ['av01', 'Exif', 'mime', 'uri '];
/** A picture and its alpha have about 5 properties each. Some are transformations, which go over all pixels. */
const MAX_PLAIN_PROPERTIES = 16;
/** A picture is associated with its properties in about 16 bytes, one for each. */
const MAX_PLAIN_ASSOCIATION_BYTES = 64;

/**
 * Counts boxes, and tells files whose pixels come from one coded picture from those that are put together of several.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readAvifStructure(bytes: Uint8Array): ImageStructure {
  const reader = new BoxReader(bytes);
  const top = reader.boxes(0, reader.view.length);
  const meta = boxOf(top, 'meta');
  if (meta === undefined) return { ...plainStructure(bytes), isUnusual: true };
  const parts = reader.boxes(meta.from + 4, meta.to);
  const types = readItemTypes(reader, boxOf(parts, 'iinf'));
  requireSimpleExif(reader.view, parts, types);
  const isSequence = boxOf(top, 'moov') !== undefined;
  const isDerived = [...types.values()].some((type) => !plainItems.includes(type));
  return {
    ...plainStructure(bytes),
    isUnusual: isSequence || isDerived || !hasPlainProperties(reader, boxOf(parts, 'iprp')),
  };
}

/** Lists boxes that lie beside each other, and counts all that it has listed. */
class BoxReader {
  readonly view: ByteView;
  #count = 0;

  constructor(bytes: Uint8Array) {
    this.view = new ByteView(bytes);
  }

  boxes(from: number, to: number): readonly Box[] {
    const boxes: Box[] = [];
    for (let at = from; at + 8 <= to; ) {
      this.#count += 1;
      requireAtMost(MAX_BOXES, this.#count, 'boxes');
      const box = this.#boxAt(at, to);
      boxes.push(box);
      at = Math.max(box.to, at + 8); // A length that cannot be is the decoder's to refuse.
    }
    return boxes;
  }

  /** A length of 0 means to the end; one of 1 that 8 bytes with the length follow the name. */
  #boxAt(at: number, end: number): Box {
    const length = this.view.uint32(at);
    const name = this.view.text(at + 4);
    if (length === 0) return { name, from: at + 8, to: end };
    if (length === 1) return { name, from: at + 16, to: Math.min(at + (this.view.uint64(at + 8) || 16), end) };
    return { name, from: at + 8, to: Math.min(at + length, end) };
  }
}

function boxOf(boxes: readonly Box[], wanted: string): Box | undefined {
  return boxes.find(({ name }) => name === wanted);
}

/** The types of items by their ids. */
function readItemTypes(reader: BoxReader, list: Box | undefined): ReadonlyMap<number, string> {
  if (list === undefined) return new Map();
  const { view } = reader;
  const entries = reader.boxes(list.from + (view.uint8(list.from) === 0 ? 6 : 8), list.to);
  return new Map(
    entries.map(({ from }) => {
      const isLong = view.uint8(from) >= 3;
      return [isLong ? view.uint32(from + 4) : view.uint16(from + 4), view.text(from + (isLong ? 10 : 8))] as const;
    }),
  );
}

/** Whether properties are few, and named by few items. */
function hasPlainProperties(reader: BoxReader, list: Box | undefined): boolean {
  if (list === undefined) return true;
  const inside = reader.boxes(list.from, list.to);
  const propertyCount = inside
    .filter(({ name }) => name === 'ipco')
    .reduce((sum, { from, to }) => sum + reader.boxes(from, to).length, 0);
  const associationBytes = inside
    .filter(({ name }) => name === 'ipma')
    .reduce((sum, { from, to }) => sum + to - from, 0);
  return propertyCount <= MAX_PLAIN_PROPERTIES && associationBytes <= MAX_PLAIN_ASSOCIATION_BYTES;
}

/** @throws HandlerError `IMAGE_TOO_COMPLEX`. */
function requireSimpleExif(view: ByteView, parts: readonly Box[], types: ReadonlyMap<number, string>): void {
  const locations = boxOf(parts, 'iloc');
  if (locations === undefined || ![...types.values()].includes('Exif')) return;
  const extents = readItemLocations(view, locations, boxOf(parts, 'idat')?.from ?? 0);
  const exifExtents = extents.filter(({ itemId }) => types.get(itemId) === 'Exif');
  requireAtMost(MAX_EXIF_EXTENTS, exifExtents.length, 'pieces of EXIF data');
  let entryCount = 0;
  for (const { from, to } of exifExtents) {
    const exif = view.bytes.subarray(from, to);
    const at = new ByteView(exif).text(0, EXIF_PREFIX_BYTES).search(/II\*\0|MM\0\*/);
    if (at !== -1) entryCount = countExifEntries(exif.subarray(at), entryCount);
  }
}
