import { requireAtMost } from '../part-limit.ts';
import { ByteView } from './byte-view.ts';
import { type ImageStructure, plainStructure } from './structure.ts';

/** Source: GIF89a specification, sections 17 to 27. */
const HEADER_BYTES = 13;
const EXTENSION = 0x21;
const IMAGE = 0x2c;
const TRAILER = 0x3b;

/** Files have a comment, their number of repetitions and the like. */
const MAX_EXTENSIONS = 10_000;
/** Encoders fill blocks of 255 bytes: 80,000 in the largest files. */
const MAX_SUB_BLOCKS = 1_000_000;

/**
 * Keeps the first frame of an animation: the decoder reads all frames before it shows the first one.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function readGifStructure(bytes: Uint8Array): ImageStructure {
  const view = new ByteView(bytes);
  const end = endOfFirstFrame(view);
  if (end === undefined || end + 1 >= view.length) return plainStructure(bytes);
  const firstFrame = Buffer.alloc(end + 1, TRAILER);
  view.bytes.copy(firstFrame, 0, 0, end);
  return plainStructure(firstFrame);
}

/** `undefined` where the file ends before, or has something else than blocks. */
function endOfFirstFrame(view: ByteView): number | undefined {
  let at = HEADER_BYTES + paletteBytes(view.uint8(10));
  for (let extensionCount = 1; view.uint8(at) === EXTENSION; extensionCount += 1) {
    requireAtMost(MAX_EXTENSIONS, extensionCount, 'extensions before its first frame');
    at = endOfSubBlocks(view, at + 2);
  }
  if (view.uint8(at) !== IMAGE) return undefined;
  const data = at + 10 + paletteBytes(view.uint8(at + 9)) + 1; // Behind the smallest size of a code.
  const end = endOfSubBlocks(view, data);
  return end <= view.length ? end : undefined;
}

/** The bytes of a table of colours, from the flags before it. */
function paletteBytes(flags: number): number {
  return flags & 0x80 ? 3 * 2 ** ((flags & 0x07) + 1) : 0;
}

function endOfSubBlocks({ bytes }: ByteView, from: number): number {
  let at = from;
  let blockCount = 0;
  for (let size = bytes[at]; size !== undefined && size > 0; size = bytes[at]) {
    blockCount += 1;
    at += 1 + size;
  }
  requireAtMost(MAX_SUB_BLOCKS, blockCount, 'blocks of data in a frame');
  return at + 1;
}
