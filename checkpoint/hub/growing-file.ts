import type { Hash } from 'node:crypto';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { CheckpointError } from '../errors.ts';
import { digestFile, startDigest } from './checksum.ts';
import { explainWriteErrors } from './failures.ts';
import { keepRecent } from './incomplete-file.ts';
import type { RemoteFile } from './listing.ts';

/** The bytes written between two looks whether the file still has its name. */
const CHECK_INTERVAL_BYTES = 1 << 20;

/**
 * A half-written file that is open, with the digest of its bytes. Its modification time stays recent until it is closed.
 * Its errors are CheckpointErrors that name its path. One whose cause is ENOENT says that another download has removed
 * or taken the file.
 */
export class GrowingFile {
  readonly path: string;
  readonly #file: RemoteFile;
  readonly #handle: FileHandle;
  readonly #stopTouching: () => Promise<void>;
  #digest: Hash;
  #receivedBytes = 0;
  #uncheckedBytes = 0;

  private constructor(path: string, file: RemoteFile, handle: FileHandle, abandonedAfterMs: number) {
    this.path = path;
    this.#file = file;
    this.#handle = handle;
    this.#stopTouching = keepRecent(path, abandonedAfterMs);
    this.#digest = startDigest(file);
  }

  /** Opens a file and reads the bytes that it has. A file with more bytes than listed loses them all. */
  static async open(path: string, file: RemoteFile, abandonedAfterMs: number): Promise<GrowingFile> {
    const handle = await explainWriteErrors(path, () => open(path, 'r+'));
    const growing = new GrowingFile(path, file, handle, abandonedAfterMs);
    try {
      await growing.#readBytes();
      return growing;
    } catch (cause) {
      await growing.close();
      throw cause;
    }
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** The digest of all bytes, in hexadecimal digits. */
  get digest(): string {
    return this.#digest.copy().digest('hex');
  }

  get isMatch(): boolean {
    return this.digest === this.#file.checksum.hex;
  }

  /** @throws CheckpointError `CHECKPOINT_DOWNLOAD_FAILED` when the file gets longer than listed, or cannot be written. */
  async append(chunk: Uint8Array): Promise<void> {
    const { name, sizeBytes } = this.#file;
    if (this.#receivedBytes + chunk.length > sizeBytes) {
      const message = `${this.path}: expected ${sizeBytes} bytes of ${name}, got more.`;
      throw new CheckpointError('CHECKPOINT_DOWNLOAD_FAILED', message);
    }
    await explainWriteErrors(this.path, () => this.#write(chunk));
    this.#digest.update(chunk);
    this.#receivedBytes += chunk.length;
    this.#uncheckedBytes += chunk.length;
    if (this.#uncheckedBytes >= CHECK_INTERVAL_BYTES) await this.#requireName();
  }

  /** Drops all bytes, but never those of a download that has taken the file. */
  async restart(): Promise<void> {
    await this.#requireName();
    await explainWriteErrors(this.path, () => this.#handle.truncate(0));
    this.#receivedBytes = 0;
    this.#digest = startDigest(this.#file);
  }

  /** Returns when the bytes are on the disk. */
  async sync(): Promise<void> {
    await explainWriteErrors(this.path, () => this.#handle.sync());
  }

  async close(): Promise<void> {
    await this.#stopTouching();
    await this.#handle.close();
  }

  async #readBytes(): Promise<void> {
    const { size } = await explainWriteErrors(this.path, () => this.#handle.stat());
    if (size > this.#file.sizeBytes) return await this.restart();
    await explainWriteErrors(this.path, () => digestFile(this.path, this.#digest));
    this.#receivedBytes = size;
  }

  /** Throws where the file is gone, because nobody would ever see the bytes that follow. */
  async #requireName(): Promise<void> {
    await explainWriteErrors(this.path, () => stat(this.path));
    this.#uncheckedBytes = 0;
  }

  /**
   * Writes at the position of the bytes. Until a download that was frozen notices that another has taken its file, both
   * write equal bytes to equal positions.
   */
  async #write(chunk: Uint8Array): Promise<void> {
    for (let written = 0; written < chunk.length; ) {
      const position = this.#receivedBytes + written;
      const { bytesWritten } = await this.#handle.write(chunk, written, chunk.length - written, position);
      written += bytesWritten;
    }
  }
}
