import { basename, dirname, join } from 'node:path';
import { hasBytes } from './checksum.ts';
import { explainWriteErrors } from './failures.ts';
import type { RemoteFile } from './listing.ts';

/** The paths that the bytes of a file are written to. */
export interface FilePaths {
  readonly path: string;
  /** Begins the names of half-written files, in the same folder. */
  readonly incompletePrefix: string;
}

/** The goal of one download: the cache, or a plain folder. */
export interface Destination {
  /** The result of the download. */
  readonly folder: string;
  /** Whether the file is there, whole and under its name. */
  has(file: RemoteFile): Promise<boolean>;
  paths(file: RemoteFile): FilePaths;
  /** Whether the bytes of the file are at their path. */
  isWhole(file: RemoteFile): Promise<boolean>;
  /** Gives the bytes their name in the folder. `isNew` says that this download has written them. */
  settle(file: RemoteFile, isNew: boolean): Promise<void>;
  /** After the last file: records the commit of the revision, and which files the Hub does not have. */
  finish(absentFiles: readonly string[]): Promise<void>;
}

/** A folder of plain files. Files of these names with other bytes are replaced. */
export class FolderDestination implements Destination {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  has(file: RemoteFile): Promise<boolean> {
    return this.isWhole(file);
  }

  paths({ name, checksum }: RemoteFile): FilePaths {
    const path = join(this.folder, name);
    return { path, incompletePrefix: join(dirname(path), `.${basename(name)}.${checksum.hex}`) };
  }

  isWhole(file: RemoteFile): Promise<boolean> {
    const { path } = this.paths(file);
    return explainWriteErrors(path, () => hasBytes(path, file));
  }

  async settle(): Promise<void> {}

  async finish(): Promise<void> {}
}
