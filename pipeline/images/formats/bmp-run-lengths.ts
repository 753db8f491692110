import { setImmediate } from 'node:timers/promises';
import type { BmpHeader } from './bmp-header.ts';

/** Between so many codes and pixels, other work of the thread has its turn: some milliseconds. */
const STEPS_AT_A_TIME = 1_000_000;
const [END_OF_LINE, END_OF_BITMAP, DELTA] = [0, 1, 2];

/**
 * Unpacks the run lengths of a bitmap (RLE8 or RLE4): one index for each pixel, in the order of the file. Pixels that are
 * skipped have index 0. Follows Pillow's `BmpRleDecoder`, also where a run is longer than its row.
 * @returns `undefined` where the file ends before its pixels.
 */
export async function unpackRunLengths(file: Buffer, header: BmpHeader): Promise<Buffer | undefined> {
  const unpacking = new Unpacking(file, header);
  for (let pauseAt = STEPS_AT_A_TIME; unpacking.next(); ) {
    if (unpacking.steps < pauseAt) continue;
    await setImmediate();
    pauseAt = unpacking.steps + STEPS_AT_A_TIME;
  }
  return unpacking.isWhole ? unpacking.indices : undefined;
}

class Unpacking {
  readonly indices: Buffer;
  /** Codes that were read, and pixels that were written. */
  steps = 0;
  readonly #file: Buffer;
  readonly #width: number;
  readonly #isRle4: boolean;
  #at: number;
  /** The next pixel, and its column, which may lie beyond the row. */
  #end = 0;
  #column = 0;

  constructor(file: Buffer, { width, height, packing, pixelsAt }: BmpHeader) {
    this.indices = Buffer.alloc(width * height);
    this.#file = file;
    this.#width = width;
    this.#isRle4 = packing === 'rle4';
    this.#at = pixelsAt;
  }

  get isWhole(): boolean {
    return this.#end >= this.indices.length;
  }

  /** Unpacks the next code. Returns whether there may be more. */
  next(): boolean {
    if (this.isWhole || this.#at + 2 > this.#file.length) return false;
    const count = this.#file[this.#at] ?? 0;
    const code = this.#file[this.#at + 1] ?? 0;
    this.#at += 2;
    this.steps += 1;
    if (count > 0) return this.#run(count, code);
    if (code === END_OF_LINE) return this.#endLine();
    if (code === END_OF_BITMAP) return false;
    return code === DELTA ? this.#skip() : this.#literal(code);
  }

  /** A run has one index, or two by turns. */
  #run(count: number, code: number): boolean {
    const length = Math.max(0, Math.min(count, this.#width - this.#column));
    const [first, second] = this.#isRle4 ? [code >> 4, code & 15] : [code, code];
    for (let index = 0; index < length; index += 1) {
      this.indices[this.#end + index] = index % 2 === 0 ? first : second;
    }
    this.steps += length;
    this.#end += length;
    this.#column += length;
    return true;
  }

  #endLine(): boolean {
    this.#end = Math.ceil(this.#end / this.#width) * this.#width;
    this.#column = 0;
    return true;
  }

  #skip(): boolean {
    if (this.#at + 2 > this.#file.length) return false;
    this.#end += (this.#file[this.#at] ?? 0) + (this.#file[this.#at + 1] ?? 0) * this.#width;
    this.#at += 2;
    this.#end = Math.min(this.#end, this.indices.length);
    this.#column = this.#end % this.#width;
    return true;
  }

  /** So many indices follow. The next code begins at an even place of the file. */
  #literal(code: number): boolean {
    const count = Math.min(code, this.indices.length - this.#end);
    const byteCount = this.#isRle4 ? Math.ceil(count / 2) : count;
    if (this.#at + byteCount > this.#file.length) return false;
    for (let index = 0; index < count; index += 1) {
      const byte = this.#file[this.#at + (this.#isRle4 ? index >> 1 : index)] ?? 0;
      const nibble = index % 2 === 0 ? byte >> 4 : byte & 15;
      this.indices[this.#end + index] = this.#isRle4 ? nibble : byte;
    }
    this.#at += byteCount;
    this.#at += this.#at % 2;
    this.steps += count;
    this.#end += count;
    this.#column += code;
    return true;
  }
}
