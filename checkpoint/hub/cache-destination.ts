import { randomUUID } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { copyFile, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { CheckpointError } from '../errors.ts';
import { errorCode, isMissing } from '../files/file-errors.ts';
import { cachedCommit, type RepositoryCache, repositoryCache, writeAtomically } from './cache-layout.ts';
import { hasSize } from './checksum.ts';
import type { Destination, FilePaths } from './destination.ts';
import { explainWriteErrors, isReadOnly } from './failures.ts';
import type { HubSettings } from './hub-settings.ts';
import type { Listing, RemoteFile } from './listing.ts';
import type { HubReference } from './reference.ts';

/** Codes of systems and file systems without symlinks. */
const noSymlinkCodes = new Set(['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'UNKNOWN']);

/**
 * The cache that Python shares: bytes in blobs/ under their ETag, and a symlink to them in the snapshot of the commit.
 * Without symlinks the snapshot holds the files themselves, as in `_create_symlink` of huggingface_hub.
 */
export class CacheDestination implements Destination {
  readonly folder: string;
  readonly #cache: RepositoryCache;
  readonly #revision: string;
  readonly #commit: string;
  readonly #settings: HubSettings;

  constructor(reference: HubReference, settings: HubSettings, { commit }: Listing) {
    this.#cache = repositoryCache(settings.cacheFolder, reference);
    this.#revision = reference.revision;
    this.#commit = commit;
    this.#settings = settings;
    this.folder = this.#cache.snapshot(commit);
  }

  has(file: RemoteFile): Promise<boolean> {
    const pointer = this.#pointer(file);
    return explainWriteErrors(pointer, () => hasSize(pointer, file));
  }

  paths(file: RemoteFile): FilePaths {
    const blob = this.#blob(file);
    return { path: blob, incompletePrefix: blob };
  }

  async isWhole(file: RemoteFile): Promise<boolean> {
    return (await hasSize(this.#blob(file), file)) || (await hasSize(this.#pointer(file), file));
  }

  async settle(file: RemoteFile, isNew: boolean): Promise<void> {
    const pointer = this.#pointer(file);
    // A new one replaces what is there: without symlinks the bytes have to leave blobs/.
    if (!isNew && (await hasSize(pointer, file))) return;
    await explainWriteErrors(pointer, async () => {
      try {
        await point(this.#blob(file), pointer, { isNew, symlinks: this.#settings.symlinks });
      } catch (cause) {
        // Without symlinks, the download that wrote it may have moved it to its name meanwhile.
        if (!isMissing(cause) || !(await hasSize(pointer, file))) throw cause;
      }
    });
  }

  async finish(absentFiles: readonly string[]): Promise<void> {
    const ref = this.#cache.ref(this.#revision);
    if (cachedCommit(this.#cache, this.#revision) !== this.#commit)
      await unlessReadOnly(ref, () => writeAtomically(ref, this.#commit));
    for (const file of absentFiles) {
      const marker = this.#cache.absentMarker(this.#commit, file);
      if (!existsSync(marker)) await unlessReadOnly(marker, () => writeAtomically(marker, ''));
    }
  }

  #blob({ checksum }: RemoteFile): string {
    return join(this.#cache.blobs, checksum.hex);
  }

  #pointer({ name }: RemoteFile): string {
    return join(this.folder, name);
  }
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
      // A new blob belongs to this snapshot alone, and is moved in one step: another download that looks for its bytes
      // finds them under one of the two names. Other snapshots may point to an older blob, which is copied.
      if (isNew) return await rename(blob, pointer);
      await copyFile(blob, temporaryPath, constants.COPYFILE_FICLONE);
    }
    await rename(temporaryPath, pointer);
  } finally {
    await rm(temporaryPath, { force: true });
  }
}

/** @returns whether symlinks are possible here. */
async function tryLink(target: string, path: string): Promise<boolean> {
  try {
    await symlink(target, path);
    return true;
  } catch (cause) {
    if (noSymlinkCodes.has(errorCode(cause))) return false;
    throw cause;
  }
}

/** Ignores a cache that cannot be written: these records only save questions to the Hub. */
async function unlessReadOnly(path: string, action: () => void): Promise<void> {
  await explainWriteErrors(path, action).catch((thrown: CheckpointError) => {
    if (!isReadOnly(thrown.cause)) throw thrown;
  });
}
