/** Reads numbers at places that hostile files name. A number outside the file is NaN, and whatever is added to it too. */
export class ByteView {
  readonly bytes: Buffer;
  readonly #isLittleEndian: boolean;

  /** Looks at the bytes where they lie. */
  constructor(bytes: Uint8Array, isLittleEndian = false) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#isLittleEndian = isLittleEndian;
  }

  get length(): number {
    return this.bytes.length;
  }

  uint8(at: number): number {
    return this.bytes[at] ?? Number.NaN;
  }

  uint16(at: number): number {
    return this.#uint(at, 2);
  }

  uint32(at: number): number {
    return this.#uint(at, 4);
  }

  /** Exact below 2^53, which no file reaches. */
  uint64(at: number): number {
    const [high, low] = this.#isLittleEndian ? [at + 4, at] : [at, at + 4];
    return this.uint32(high) * 2 ** 32 + this.uint32(low);
  }

  /** Bytes as characters: four, as names have them; fewer at the end. */
  text(at: number, byteCount = 4): string {
    return this.bytes.toString('latin1', at, at + byteCount);
  }

  #uint(at: number, byteCount: number): number {
    if (!(at >= 0 && at + byteCount <= this.length)) return Number.NaN;
    return this.#isLittleEndian ? this.bytes.readUIntLE(at, byteCount) : this.bytes.readUIntBE(at, byteCount);
  }
}
