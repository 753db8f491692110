import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isMissing } from '../files/file-errors.ts';

/**
 * Half-written files. Each belongs to one download, which alone writes it, so two downloads of a file never mix their
 * bytes: the last one to finish puts its file in place. A download begins with the bytes that an earlier one left.
 *
 * Python's huggingface_hub gives each process a name of its own as well (`<etag>.<8 hex digits>.incomplete`), and
 * does not resume. The names here are longer, so that neither takes the other's.
 */

/** The time of modification of a file that its download has given up. */
const RELEASED = new Date(0);
const identifier = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const SUFFIX = '.incomplete';

interface Leftover {
  readonly path: string;
  readonly sizeBytes: number;
  /** A download may still write it. */
  readonly mayBeOwned: boolean;
}

/**
 * Begins a half-written file with the bytes of the largest that other downloads left, or with none.
 * @param prefix of the names of all half-written files of one file.
 * @param abandonedAfterMs a file that was not written for so long belongs to nobody.
 * @returns its path.
 * @throws errors of the file system.
 */
export async function beginIncompleteFile(prefix: string, abandonedAfterMs: number): Promise<string> {
  const path = `${prefix}.${randomUUID()}${SUFFIX}`;
  for (const leftover of await findLeftovers(prefix, abandonedAfterMs)) {
    if (await takeBytes(leftover, path)) return path;
  }
  await (await open(path, 'wx')).close();
  return path;
}

/** Leaves a half-written file to the next download, where it is still there. */
export async function releaseIncompleteFile(path: string): Promise<void> {
  await utimes(path, RELEASED, RELEASED).catch(() => undefined);
}

/**
 * Removes all half-written files of a file that is in place. A download that still writes one finds the whole file when
 * it wants to put its own there.
 */
export async function removeIncompleteFiles(prefix: string): Promise<void> {
  for (const path of await incompletePaths(prefix)) await rm(path, { force: true });
}

/** The largest first. */
async function findLeftovers(prefix: string, abandonedAfterMs: number): Promise<readonly Leftover[]> {
  const paths = await incompletePaths(prefix);
  const leftovers = await Promise.all(
    paths.map(async (path) => {
      const status = await unlessMissing(stat(path));
      if (status === undefined || status.size === 0) return [];
      return [{ path, sizeBytes: status.size, mayBeOwned: Date.now() - status.mtimeMs < abandonedAfterMs }];
    }),
  );
  return leftovers.flat().sort((one, other) => other.sizeBytes - one.sizeBytes);
}

async function incompletePaths(prefix: string): Promise<readonly string[]> {
  const start = `${basename(prefix)}.`;
  const names = await readdir(dirname(prefix));
  return names
    .filter((name) => name.startsWith(start) && name.endsWith(SUFFIX))
    .filter((name) => identifier.test(name.slice(start.length, -SUFFIX.length)))
    .map((name) => join(dirname(prefix), name));
}

/** @returns whether the leftover was still there. */
async function takeBytes({ path, mayBeOwned }: Leftover, target: string): Promise<boolean> {
  const taken = await unlessMissing(mayBeOwned ? copy(path, target) : move(path, target));
  return taken ?? false;
}

async function copy(path: string, target: string): Promise<true> {
  try {
    await copyFile(path, target, constants.COPYFILE_FICLONE);
    return true;
  } catch (cause) {
    await rm(target, { force: true }); // A full disk leaves a part.
    throw cause;
  }
}

/** Not a copy, because a large file may leave no room for one. It is made young first, so that nobody else moves it. */
async function move(path: string, target: string): Promise<true> {
  const now = new Date();
  await utimes(path, now, now);
  await rename(path, target);
  return true;
}

async function unlessMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw cause;
  }
}
