import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { CheckpointError } from '../errors.ts';
import { explainReadErrors } from './file-errors.ts';

/** A file that is open for reading. */
export interface OpenFile {
  readonly path: string;
  readonly descriptor: number;
  readonly sizeBytes: number;
}

/** Bytes that are read at once where a file may grow while it is read. */
const CHUNK_BYTES = 1 << 20;

/**
 * Opens a regular file and closes it when `use` returns or throws. Symlinks are followed, because the Hub's cache has
 * them. A named pipe would block for ever and a device may never end, so they are refused before they are opened, and
 * once more by their descriptor, should the path have changed in between.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`, and the errors of `use`.
 */
export function withRegularFile<T>(path: string, use: (file: OpenFile) => T): T {
  requireTarget(path);
  requireRegular(
    path,
    explainReadErrors(path, () => statSync(path)),
  );
  // Windows has no such flag, and no named pipes in its folders.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
  const descriptor = explainReadErrors(path, () => openSync(path, flags));
  try {
    const status = explainReadErrors(path, () => fstatSync(descriptor));
    requireRegular(path, status);
    return use({ path, descriptor, sizeBytes: status.size });
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Whether there is a file of this name.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE` when there is something else than a regular file.
 */
export function hasRegularFile(path: string): boolean {
  requireTarget(path);
  const status = explainReadErrors(path, () => statSync(path, { throwIfNoEntry: false }));
  if (status !== undefined) requireRegular(path, status);
  return status !== undefined;
}

/**
 * Reads a whole file that has at most `maxBytes`. A file of /proc has another size than it says, so reading stops there.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`.
 */
export function readWhole(file: OpenFile, maxBytes: number): Buffer {
  if (file.sizeBytes > maxBytes) throw tooLarge(file.path, maxBytes, `${file.sizeBytes} bytes`);
  const chunks: Buffer[] = [];
  let readBytes = 0;
  for (let lengthBytes = file.sizeBytes + 1; ; lengthBytes = CHUNK_BYTES) {
    const chunk = Buffer.allocUnsafe(Math.min(lengthBytes, maxBytes + 1));
    const count = explainReadErrors(file.path, () => readSync(file.descriptor, chunk, 0, chunk.length, readBytes));
    chunks.push(chunk.subarray(0, count));
    readBytes += count;
    if (readBytes > maxBytes) throw tooLarge(file.path, maxBytes, 'more');
    if (count < chunk.length) return chunks.length === 1 ? chunk.subarray(0, count) : Buffer.concat(chunks);
  }
}

/**
 * A symlink to nothing is no missing file: the checkpoint has one, and something else must not take its place. The Hub's
 * cache is copied so where its blobs are left behind.
 */
function requireTarget(path: string): void {
  const isLink = explainReadErrors(path, () => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink());
  if (isLink !== true || explainReadErrors(path, () => statSync(path, { throwIfNoEntry: false })) !== undefined) return;
  const advice = 'Copy the folder with its links followed (cp -rL), or download it again.';
  throw new CheckpointError(
    'CHECKPOINT_FILE_UNREADABLE',
    `${path}: expected a file, got a symlink to one that is not there. ${advice}`,
  );
}

function requireRegular(path: string, status: Stats): void {
  if (status.isFile()) return;
  throw new CheckpointError('CHECKPOINT_FILE_UNREADABLE', `${path}: expected a regular file, got ${kindOf(status)}.`);
}

function kindOf(status: Stats): string {
  if (status.isDirectory()) return 'a folder';
  if (status.isFIFO()) return 'a named pipe';
  if (status.isSocket()) return 'a socket';
  return 'a device';
}

function tooLarge(path: string, maxBytes: number, got: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_FILE_UNREADABLE', `${path}: expected at most ${maxBytes} bytes, got ${got}.`);
}
