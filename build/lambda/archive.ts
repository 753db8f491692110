import { createWriteStream, readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ZipFile } from 'yazl';
import { HandlerError } from '../../protocol/errors.ts';

/** The zip archive of a function. */

/** Bytes of all files of a function. Source: AWS documentation, "Lambda quotas"; Lambda's own message has this number. */
export const MAX_UNPACKED_BYTES = 262_144_000;

/** The earliest time of the format, in the zone of this machine, as the format has it: equal files make equal archives. */
const ENTRY_TIME = new Date(1980, 0, 1);

export interface ArchiveSizes {
  readonly archiveBytes: number;
  readonly unpackedBytes: number;
}

/** Writes all files of a folder into an archive. @throws HandlerError `BUILD_FAILED` where Lambda would refuse it. */
export async function writeArchive(folder: string, file: string): Promise<ArchiveSizes> {
  const paths = filesIn(folder);
  const unpackedBytes = paths.reduce((sum, path) => sum + statSync(path).size, 0);
  if (unpackedBytes > MAX_UNPACKED_BYTES)
    throw new HandlerError(
      'BUILD_FAILED',
      `Expected at most ${MAX_UNPACKED_BYTES} bytes of files, which is Lambda's limit for archives, got ${unpackedBytes}. \
Make an image (--image NAME), or put the checkpoint on a file system and leave it out.`,
    );
  const zip = new ZipFile();
  for (const path of paths)
    zip.addFile(path, relative(folder, path).replaceAll(sep, '/'), {
      mtime: ENTRY_TIME,
      mode: statSync(path).mode,
      forceDosTimestamp: true,
    });
  zip.end();
  await pipeline(zip.outputStream, createWriteStream(file));
  return { archiveBytes: statSync(file).size, unpackedBytes };
}

/** All files below a folder, in the order of their paths. */
function filesIn(folder: string): readonly string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
