import { requireAtMost } from '../part-limit.ts';
import { ByteView } from './byte-view.ts';
import { countExifEntries, isExif, withoutExifPrefix } from './exif-structure.ts';
import { type ImageStructure, plainStructure } from './structure.ts';

/** Markers of JPEG. Source: ITU-T T.81, table B.1. */
const START_OF_SCAN = 0xda;
const END_OF_IMAGE = 0xd9;
const APPLICATION_1 = 0xe1;
const progressiveFrames: readonly number[] = [0xc2, 0xc6, 0xca, 0xce];
const otherFrames: readonly number[] = [0xc0, 0xc1, 0xc3, 0xc5, 0xc7, 0xc9, 0xcb, 0xcd, 0xcf];

/**
 * Encoders make about 10 scans, and up to 64 in odd files. Chrome (Skia's SkJpegDecoderMgr.cpp) stops at 100 as well,
 * libjpeg-turbo's own programs at 500 where they are told to.
 */
const MAX_SCANS = 100;
/** A profile takes up to 255 segments, and extended XMP of 20 MB takes 320. */
const MAX_SEGMENTS = 2_000;

/** Compressed data have an escape in 256 bytes: 80,000 in the largest files. */
const MAX_PASSED = 1_000_000;

/**
 * Counts segments and scans. A file whose only scan has all components is read no further than that scan, because the
 * decoder reads it once and row by row.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readJpegStructure(bytes: Uint8Array): ImageStructure {
  const view = new ByteView(bytes);
  let frame = 0;
  let componentCount = 0;
  let segmentCount = 0;
  let scanCount = 0;
  let exifCount = 0;
  for (let at = nextMarker(view, 2); at < view.length; ) {
    const marker = view.uint8(at);
    if (marker === END_OF_IMAGE) break;
    segmentCount += 1;
    requireAtMost(MAX_SEGMENTS, segmentCount, 'segments');
    const dataAt = at + 3;
    const end = at + 1 + (view.uint16(at + 1) || 2);
    const data = view.bytes.subarray(dataAt, end);
    if (marker === APPLICATION_1 && isExif(data)) exifCount = countExifEntries(withoutExifPrefix(data), exifCount);
    if (progressiveFrames.includes(marker) || otherFrames.includes(marker)) {
      frame = marker;
      componentCount = view.uint8(dataAt + 5);
    }
    if (marker === START_OF_SCAN) {
      scanCount += 1;
      requireAtMost(MAX_SCANS, scanCount, 'scans');
      if (!progressiveFrames.includes(frame) && view.uint8(dataAt) === componentCount) break;
    }
    at = nextMarker(view, end);
  }
  return { ...plainStructure(bytes), passes: Math.max(1, scanCount), isUnusual: frame > 0xc2 };
}

/**
 * Where the code of the next marker lies that begins a segment or ends the image; the end of the file where there is
 * none. As decoders do, it passes over compressed data, restart markers and stray bytes.
 */
function nextMarker({ bytes }: ByteView, from: number): number {
  let passedCount = 0;
  for (let at = bytes.indexOf(0xff, from); at !== -1 && at + 1 < bytes.length; ) {
    const code = bytes[at + 1] ?? 0;
    if (code > 0x01 && code < 0xff && !(code >= 0xd0 && code <= 0xd8)) return at + 1;
    passedCount += 1;
    requireAtMost(MAX_PASSED, passedCount, 'fill bytes, escapes and restarts between two markers');
    at = code === 0xff ? at + 1 : nextPrefix(bytes, at + 2);
  }
  return bytes.length;
}

/** As `indexOf` of 0xff, but cheap where there are many of them. */
function nextPrefix(bytes: Buffer, from: number): number {
  const near = Math.min(from + 32, bytes.length);
  for (let at = from; at < near; at += 1) if (bytes[at] === 0xff) return at;
  return bytes.indexOf(0xff, near);
}
