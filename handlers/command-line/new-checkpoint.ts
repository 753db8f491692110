import { lstatSync } from 'node:fs';
import { locateCheckpoint } from '../../checkpoint/hub/locate.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { showProgress } from './download-progress.ts';

/** The parts of commands that make a checkpoint of another one. */

/** A size for people. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}

/** @throws HandlerError `INVALID_REQUEST` if anything has that path, even a broken link. */
export function requireFree(folder: string): void {
  const isFree = folder !== '' && lstatSync(folder, { throwIfNoEntry: false }) === undefined;
  if (isFree) return;
  throw new HandlerError(
    'INVALID_REQUEST',
    `Expected a FOLDER that does not exist yet, got ${JSON.stringify(folder)}.`,
  );
}

/** Runs an action that writes to a folder. @throws HandlerError `INVALID_REQUEST` for an error of the file system. */
export async function requireWritable<T>(folder: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    if (!(cause instanceof Error && 'syscall' in cause && 'code' in cause)) throw cause;
    throw new HandlerError('INVALID_REQUEST', `${folder}: expected a place that can be written (${cause.code}).`, {
      cause,
    });
  }
}

/** The folder of a checkpoint. A model of the Hub is fetched first, where the cache lacks it. */
export async function locate(checkpoint: string, signal: AbortSignal): Promise<string> {
  const display = showProgress(process.stderr);
  try {
    const { progress, notice } = display;
    return await locateCheckpoint(checkpoint, process.env, { onProgress: progress, onNotice: notice, signal });
  } finally {
    display.stop();
  }
}
