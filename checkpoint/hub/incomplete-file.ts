import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { isMissing } from '../files/file-errors.ts';
import { isDiskFull } from './failures.ts';

/**
 * Half-written files. Each belongs to one download, which alone writes it, so two downloads of a file never mix their
 * bytes: the last one to finish puts its file in place. A download begins with the bytes that an earlier one left.
 *
 * A download keeps the modification time of its file recent. A file with an old time belongs to nobody, and is moved: a
 * copy at each start of a process that is killed again and again would fill the disk. Only a file that a download
 * writes is copied. A frozen process or a clock that jumps can make such a file look old. Its download then finds it
 * gone and begins again, so times decide about speed and space, never about correctness.
 *
 * Python's huggingface_hub gives each process a name of its own as well (`<etag>.<8 hex digits>.incomplete`), and
 * does not resume. The names here are longer, so that neither takes the other's.
 */

/** The time of modification of a file that its download has given up. */
const RELEASED = new Date(0);
/** The pause between two looks at a file that may have a download. */
const WATCH_INTERVAL_MS = 200;
/** Times that a download touches its file before it would look abandoned. Some file systems only know whole seconds. */
const TOUCHES = 4;
const identifier = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const SUFFIX = '.incomplete';

/** A half-written file of another download. */
export interface Leftover {
  readonly path: string;
  readonly sizeBytes: number;
  /** Its download still writes it. */
  readonly isOwned: boolean;
}

/**
 * Finds the half-written files with any bytes. A file with a recent time is watched until a download touches it or the
 * time is old, because the process that wrote it may have been killed just now.
 * @param prefix of the names of all half-written files of one file.
 * @param abandonedAfterMs a file that was not touched for so long belongs to nobody.
 * @returns those that belong to nobody first, and the largest of them before the others.
 * @throws errors of the file system; an AbortError when the signal aborts.
 */
export async function findLeftovers(
  prefix: string,
  abandonedAfterMs: number,
  signal: AbortSignal,
): Promise<readonly Leftover[]> {
  const paths = await incompletePaths(prefix);
  const leftovers = await Promise.all(paths.map((path) => unlessMissing(watch(path, abandonedAfterMs, signal))));
  return leftovers
    .filter((leftover) => leftover !== undefined)
    .filter(({ sizeBytes }) => sizeBytes > 0)
    .sort((one, other) => Number(one.isOwned) - Number(other.isOwned) || other.sizeBytes - one.sizeBytes);
}

/**
 * Begins a half-written file with the bytes of the first leftover that can be taken, or with none.
 * @returns its path.
 * @throws errors of the file system.
 */
export async function beginIncompleteFile(prefix: string, leftovers: readonly Leftover[]): Promise<string> {
  const path = `${prefix}.${randomUUID()}${SUFFIX}`;
  for (const leftover of leftovers) {
    if (await takeBytes(leftover, path)) return path;
  }
  await (await open(path, 'wx')).close();
  return path;
}

/**
 * Touches a half-written file from time to time, however slowly its bytes arrive.
 * @returns a function that ends this, and waits for a touch that has begun.
 */
export function keepRecent(path: string, abandonedAfterMs: number): () => Promise<void> {
  let touched = Promise.resolve();
  const timer = setInterval(() => {
    touched = touch(path, new Date()).catch(() => undefined); // Another download may have taken the file.
  }, abandonedAfterMs / TOUCHES).unref();
  return async () => {
    clearInterval(timer);
    await touched;
  };
}

/** Leaves a half-written file to the next download, where it is still there. */
export async function releaseIncompleteFile(path: string): Promise<void> {
  await touch(path, RELEASED).catch(() => undefined);
}

/**
 * Removes all half-written files of a file that is in place. A download that still writes one notices that, and finds
 * the whole file.
 */
export async function removeIncompleteFiles(prefix: string): Promise<void> {
  for (const path of await incompletePaths(prefix)) await rm(path, { force: true });
}

async function incompletePaths(prefix: string): Promise<readonly string[]> {
  const start = `${basename(prefix)}.`;
  const names = await readdir(dirname(prefix));
  return names
    .filter((name) => name.startsWith(start) && name.endsWith(SUFFIX))
    .filter((name) => identifier.test(name.slice(start.length, -SUFFIX.length)))
    .map((name) => join(dirname(prefix), name));
}

async function watch(path: string, abandonedAfterMs: number, signal: AbortSignal): Promise<Leftover> {
  // A time in the future is as old as one in the past: the clock was set back since.
  const isRecent = (timeMs: number) => Math.abs(Date.now() - timeMs) < abandonedAfterMs;
  const first = await stat(path);
  let last = first;
  // Nobody needs to know who owns an empty file.
  while (last.size > 0 && last.mtimeMs === first.mtimeMs && isRecent(last.mtimeMs)) {
    await wait(WATCH_INTERVAL_MS, undefined, { signal });
    last = await stat(path);
  }
  return { path, sizeBytes: last.size, isOwned: isRecent(last.mtimeMs) };
}

/** @returns false where the leftover is gone, or the disk has no space for a copy. */
async function takeBytes({ path, isOwned }: Leftover, target: string): Promise<boolean> {
  const taken = await unlessMissing(isOwned ? copy(path, target) : move(path, target));
  return taken ?? false;
}

async function copy(path: string, target: string): Promise<boolean> {
  try {
    await copyFile(path, target, constants.COPYFILE_FICLONE);
    return true;
  } catch (cause) {
    await rm(target, { force: true }); // A full disk leaves a part.
    if (isDiskFull(cause)) return false;
    throw cause;
  }
}

/** Touches the file before it has its new name, so that nobody moves it from there. */
async function move(path: string, target: string): Promise<true> {
  await touch(path, new Date());
  await rename(path, target);
  return true;
}

function touch(path: string, time: Date): Promise<void> {
  return utimes(path, time, time);
}

async function unlessMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw cause;
  }
}
