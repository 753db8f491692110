import { basename } from 'node:path';
import { CheckpointError, type CheckpointErrorCode } from '../errors.ts';
import { BEGINNING_BYTES, describeForeign, recognizeForeign } from './file-beginnings.ts';
import { readIfThere } from './file-errors.ts';
import { readWhole, withRegularFile } from './regular-file.ts';
import { maxFileBytes } from './settings-files.ts';

/**
 * Reads a file of bytes, of the size that its name allows.
 * @param code of the error when a pointer, a page or an archive lies in its place.
 * @param expected what the file is, for the message.
 * @returns `undefined` when there is no such file.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`, or `code`.
 */
export function readSmallBinaryFile(path: string, code: CheckpointErrorCode, expected: string): Buffer | undefined {
  const bytes = readIfThere(path, () => withRegularFile(path, (file) => readWhole(file, maxFileBytes(basename(path)))));
  if (bytes === undefined) return undefined;
  const foreign = recognizeForeign(bytes.subarray(0, BEGINNING_BYTES));
  if (foreign === undefined) return bytes;
  throw new CheckpointError(code, describeForeign(path, expected, foreign, bytes.length));
}
