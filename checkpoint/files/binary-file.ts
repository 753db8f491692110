import { readSync } from 'node:fs';
import { CheckpointError } from '../errors.ts';
import { BEGINNING_BYTES, describeForeign, recognizeNoWeights } from './file-beginnings.ts';
import { explainReadErrors } from './file-errors.ts';
import { type OpenFile, withRegularFile } from './regular-file.ts';

/** A file of weights that is open for reading. */
export type BinaryFile = OpenFile;

/**
 * Opens a file of weights and closes it when `use` returns or throws.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`, `CHECKPOINT_WEIGHTS_INVALID` when something else lies in its place,
 *   and the errors of `use`.
 */
export function withFile<T>(path: string, use: (file: BinaryFile) => T): T {
  return withRegularFile(path, (file) => {
    const foreign = recognizeNoWeights(readBytes(file, 0, Math.min(BEGINNING_BYTES, file.sizeBytes)));
    if (foreign === undefined) return use(file);
    throw new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', describeForeign(path, 'weights', foreign, file.sizeBytes));
  });
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
