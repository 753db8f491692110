import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

/** Messages between a process and its decoder: a length, a header as JSON, and the bytes that the header counts. */

/** A header is short. */
const MAX_HEADER_BYTES = 10_000;
const LENGTH_BYTES = 4;

/** Writes a header and bytes, and waits until the stream takes more. */
export async function writeFrame(stream: Writable, header: object, data: Uint8Array = new Uint8Array()): Promise<void> {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(text.length);
  stream.write(Buffer.concat([length, text]));
  if (!stream.write(data)) await once(stream, 'drain');
}

/** Reads exact numbers of bytes from a stream. Bytes are copied once, to where they stay. */
export class FrameReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: Readable) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** The next header, as JSON; `undefined` when the stream has ended. */
  async readHeader(): Promise<unknown> {
    const length = (await this.readBytes(LENGTH_BYTES))?.readUInt32BE();
    if (length === undefined || length > MAX_HEADER_BYTES) return undefined;
    const header = await this.readBytes(length);
    return header && JSON.parse(header.toString());
  }

  /** The next bytes; `undefined` when the stream ends before. */
  async readBytes(byteCount: number): Promise<Buffer | undefined> {
    const target = Buffer.allocUnsafeSlow(byteCount);
    for (let filled = 0; filled < byteCount; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#chunks.next();
        if (done) return undefined;
        this.#rest = value;
      }
      const copied = this.#rest.copy(target, filled);
      this.#rest = this.#rest.subarray(copied);
      filled += copied;
    }
    return target;
  }
}
