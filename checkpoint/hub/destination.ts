import { randomUUID } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { copyFile, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { CheckpointError } from '../errors.ts';
import { errorCode, isMissing } from '../files/file-errors.ts';
import { cachedCommit, repositoryCache, writeAtomically } from './cache-layout.ts';
import { hasBytes, hasSize } from './checksum.ts';
import { isReadOnly, writing } from './failures.ts';
import type { HubSettings } from './hub-settings.ts';
import type { Listing, RemoteFile } from './listing.ts';
import type { HubReference } from './reference.ts';

/** Where the files of one download go. */
export interface Destination {
  /** What the download results in. */
  readonly folder: string;
  /** Whether the file is there, whole and under its name. */
  has(file: RemoteFile): Promise<boolean>;
  /** Where the fetched bytes go, and what the names of half-written files begin with. */
  place(file: RemoteFile): { readonly path: string; readonly incompletePrefix: string };
  /** Whether the bytes are at their place. */
  isWhole(file: RemoteFile): Promise<boolean>;
  /** Gives the bytes their name in the folder; `isNew` when this download put them at their place. */
  settle(file: RemoteFile, isNew: boolean): Promise<void>;
  /** After the last file: remembers what the revision is and which files the Hub does not have. */
  finish(absentFiles: readonly string[]): Promise<void>;
}

/** Systems and file systems without symlinks say so in these ways. */
const noSymlinks = new Set(['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'UNKNOWN']);

/**
 * The cache that Python shares: bytes in blobs/ under their ETag, a symlink in the snapshot of the commit. Without
 * symlinks the snapshot holds the files themselves, as huggingface_hub does it in `_create_symlink`.
 */
export function cacheDestination(reference: HubReference, settings: HubSettings, { commit }: Listing): Destination {
  const cache = repositoryCache(settings.cacheFolder, reference);
  const folder = cache.snapshot(commit);
  const blob = (file: RemoteFile) => join(cache.blobs, file.checksum.hex);
  return {
    folder,
    has: (file) => writing(join(folder, file.name), () => hasSize(join(folder, file.name), file)),
    place: (file) => ({ path: blob(file), incompletePrefix: blob(file) }),
    isWhole: async (file) => (await hasSize(blob(file), file)) || (await hasSize(join(folder, file.name), file)),
    async settle(file, isNew) {
      const pointer = join(folder, file.name);
      // A new one replaces what is there: without symlinks the bytes have to leave blobs/.
      if (!isNew && (await hasSize(pointer, file))) return;
      await writing(pointer, async () => {
        try {
          await point(blob(file), pointer, { isNew, symlinks: settings.symlinks });
        } catch (cause) {
          // Who fetched it, without symlinks, may have moved it to its name meanwhile.
          if (!isMissing(cause) || !(await hasSize(pointer, file))) throw cause;
        }
      });
    },
    async finish(absentFiles) {
      const ref = cache.ref(reference.revision);
      if (cachedCommit(cache, reference.revision) !== commit)
        await unlessReadOnly(ref, () => writeAtomically(ref, commit));
      for (const file of absentFiles) {
        const marker = cache.absentMarker(commit, file);
        if (!existsSync(marker)) await unlessReadOnly(marker, () => writeAtomically(marker, ''));
      }
    },
  };
}

/** A folder of plain files. Files of these names that have other bytes are replaced. */
export function folderDestination(folder: string): Destination {
  const path = (file: RemoteFile) => join(folder, file.name);
  const isWhole = (file: RemoteFile) => writing(path(file), () => hasBytes(path(file), file));
  return {
    folder,
    has: isWhole,
    place: (file) => ({
      path: path(file),
      incompletePrefix: join(folder, `.${file.name}.${file.checksum.hex}`),
    }),
    isWhole,
    settle: async () => undefined,
    finish: async () => undefined,
  };
}

async function point(
  blob: string,
  pointer: string,
  { isNew, symlinks }: { readonly isNew: boolean; readonly symlinks: boolean },
): Promise<void> {
  await mkdir(dirname(pointer), { recursive: true });
  const temporaryPath = `${pointer}.${randomUUID().slice(0, 8)}.tmp`;
  try {
    if (!symlinks || !(await tryLink(relative(dirname(pointer), blob), temporaryPath))) {
      // Other snapshots may point to a blob that was there before; a new one is this snapshot's alone. In one step, so
      // that whoever looks for the bytes finds them under one of the two names.
      if (isNew) return await rename(blob, pointer);
      await copyFile(blob, temporaryPath, constants.COPYFILE_FICLONE);
    }
    await rename(temporaryPath, pointer);
  } finally {
    await rm(temporaryPath, { force: true });
  }
}

async function tryLink(target: string, path: string): Promise<boolean> {
  try {
    await symlink(target, path);
    return true;
  } catch (cause) {
    if (noSymlinks.has(errorCode(cause))) return false;
    throw cause;
  }
}

/** A cache that cannot be written is still of use: what is written here only saves questions. */
async function unlessReadOnly(path: string, action: () => void): Promise<void> {
  await writing(path, action).catch((thrown: CheckpointError) => {
    if (!isReadOnly(thrown.cause)) throw thrown;
  });
}
