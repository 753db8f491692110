import { randomUUID } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readLine } from '../files/text-file.ts';
import type { HubReference } from './reference.ts';

/**
 * The cache as huggingface_hub lays it out, so that Python and this package share it:
 * `models--owner--name/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<file>, .no_exist/<commit>/<file>}`.
 * This file does not use the library's `getRepoFolderName`, because reading the cache must not load the library.
 */
export interface RepositoryCache {
  readonly blobs: string;
  snapshot(commit: string): string;
  ref(revision: string): string;
  /** The path of an empty file which says that the Hub does not have `file` at this commit. */
  absentMarker(commit: string, file: string): string;
}

const commitPattern = /^[0-9a-f]{40}$/;

export function repositoryCache(cacheFolder: string, { name }: HubReference): RepositoryCache {
  const folder = join(cacheFolder, ['models', ...name.split('/')].join('--'));
  return {
    blobs: join(folder, 'blobs'),
    snapshot: (commit) => join(folder, 'snapshots', commit),
    ref: (revision) => join(folder, 'refs', revision),
    absentMarker: (commit, file) => join(folder, '.no_exist', commit, file),
  };
}

export function isCommit(text: string): boolean {
  return commitPattern.test(text);
}

/**
 * The commit that a revision was at when it was last downloaded.
 * @returns `undefined` when it never was.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE`.
 */
export function cachedCommit(cache: RepositoryCache, revision: string): string | undefined {
  if (isCommit(revision)) return revision;
  const commit = readLine(cache.ref(revision)) ?? '';
  return isCommit(commit) ? commit : undefined;
}

/** Writes a small file whole or not at all. */
export function writeAtomically(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporaryPath = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  try {
    writeFileSync(temporaryPath, text);
    renameSync(temporaryPath, path);
  } catch (cause) {
    rmSync(temporaryPath, { force: true });
    throw cause;
  }
}
