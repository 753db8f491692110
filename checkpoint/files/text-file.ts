import { basename } from 'node:path';
import { CheckpointError, type CheckpointErrorCode } from '../errors.ts';
import { describeForeign, recognizeNoText } from './file-beginnings.ts';
import { readIfThere } from './file-errors.ts';
import { readWhole, withRegularFile } from './regular-file.ts';
import { maxFileBytes } from './settings-files.ts';

const MAX_LINE_BYTES = 1 << 16;

/**
 * Reads a file of one line, such as a token or a commit. It may be empty.
 * @returns `undefined` when there is no such file.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`.
 */
export function readLine(path: string): string | undefined {
  return readIfThere(path, () => withRegularFile(path, (file) => readWhole(file, MAX_LINE_BYTES)))
    ?.toString('utf8')
    .trim();
}

/**
 * Reads a file of text, of the size that its name allows.
 * @param code of the error when something else than text lies in its place.
 * @param expected what the text is, for the message.
 * @returns `undefined` when there is no such file.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`, or `code`.
 */
export function readTextFile(path: string, code: CheckpointErrorCode, expected = 'text'): string | undefined {
  const bytes = readIfThere(path, () => withRegularFile(path, (file) => readWhole(file, maxFileBytes(basename(path)))));
  if (bytes === undefined) return undefined;
  const foreign = recognizeNoText(bytes);
  if (foreign === undefined) return bytes.toString('utf8');
  throw new CheckpointError(code, describeForeign(path, expected, foreign, bytes.length));
}
