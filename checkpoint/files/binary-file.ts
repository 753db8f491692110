import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { CheckpointError } from '../errors.ts';
import { explainReadErrors } from './file-errors.ts';

/** A file that is open for reading. */
export interface BinaryFile {
  readonly path: string;
  readonly descriptor: number;
  readonly sizeBytes: number;
}

/**
 * Opens a file and closes it when `use` returns or throws.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`, and the errors of `use`.
 */
export function withFile<T>(path: string, use: (file: BinaryFile) => T): T {
  const descriptor = explainReadErrors(path, () => openSync(path, 'r'));
  try {
    return use({ path, descriptor, sizeBytes: explainReadErrors(path, () => fstatSync(descriptor).size) });
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Reads bytes that a file must have. Callers bound `lengthBytes`, because so much memory is allocated first.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`, or `CHECKPOINT_WEIGHTS_INVALID` when the file ends earlier.
 */
export function readBytes(file: BinaryFile, offsetBytes: number, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  const count = explainReadErrors(file.path, () => readSync(file.descriptor, bytes, 0, lengthBytes, offsetBytes));
  if (count < lengthBytes) {
    throw new CheckpointError(
      'CHECKPOINT_WEIGHTS_INVALID',
      `${file.path}: expected ${lengthBytes} bytes at ${offsetBytes}, got ${count}.`,
    );
  }
  return bytes;
}
