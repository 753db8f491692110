import { requireAtMost } from '../part-limit.ts';
import { ByteView } from './byte-view.ts';

/**
 * The most entries that a reader of EXIF meets when it follows every pointer. Cameras write fewer than 500. libexif reads
 * a directory again for each pointer to it, so that 12 kB of pointers to themselves keep it busy for minutes.
 */
const MAX_ENTRIES = 5_000;
/** libexif goes no deeper than about this: EXIF_DATA_LOAD_DATA_CONTENT's limit of recursion. */
const MAX_DEPTH = 8;
/** Entries that point to a directory: EXIF, GPS, interoperability. Source: EXIF 2.32, 4.6.3. */
const pointerTags: readonly number[] = [0x8769, 0x8825, 0xa005];

/**
 * Counts the entries of EXIF data, and those behind its pointers as often as they are pointed to.
 * @param exif from its byte order on: `II` or `MM`.
 * @param countBefore the entries of other EXIF data of the same file.
 * @returns the sum.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function countExifEntries(exif: Uint8Array, countBefore = 0): number {
  const view = new ByteView(exif, exif[0] === 0x49);
  let entryCount = countBefore;
  const follow = (directoryAt: number, depth: number): void => {
    const count = view.uint16(directoryAt);
    if (Number.isNaN(count)) return;
    const inside = Math.min(count, Math.floor((view.length - directoryAt - 2) / 12));
    entryCount += inside;
    requireAtMost(MAX_ENTRIES, entryCount, 'entries of EXIF data');
    for (let index = 0; index < inside; index += 1) {
      const at = directoryAt + 2 + 12 * index;
      if (depth < MAX_DEPTH && pointerTags.includes(view.uint16(at))) follow(view.uint32(at + 8), depth + 1);
    }
  };
  const firstAt = view.uint32(4);
  follow(firstAt, 0);
  const thumbnailAt = view.uint32(firstAt + 2 + 12 * view.uint16(firstAt));
  if (thumbnailAt > 0) follow(thumbnailAt, 0);
  return entryCount;
}

/** EXIF data without the prefix that it has in a JPEG, and that some programs write elsewhere too. */
export function withoutExifPrefix(data: Uint8Array): Uint8Array {
  return isExif(data) ? data.subarray(6) : data;
}

/** Whether data begin as EXIF in a JPEG. */
export function isExif(data: Uint8Array): boolean {
  return data[0] === 0x45 && data[1] === 0x78 && data[2] === 0x69 && data[3] === 0x66; // "Exif".
}
