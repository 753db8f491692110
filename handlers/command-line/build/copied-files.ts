import { chmodSync, copyFileSync, linkSync, mkdirSync, readdirSync, realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Copies files for an image, or for a function of AWS Lambda. Everyone may read the copies, because the user who runs there
 * owns none of them.
 */

const FOLDER_MODE = 0o755;
const FILE_MODE = 0o644;
const PROGRAM_MODE = 0o755;
const EXECUTABLE_BY_OWNER = 0o100;
const READABLE_BY_ALL = 0o444;
const READABLE_UMASK = 0o022;

export interface CopyChoices {
  /** Takes a path below the source, with `/`. */
  readonly isWanted?: (path: string) => boolean;
  /** Takes files by hard links, where their modes are right already: checkpoints have gigabytes. */
  readonly mayLink?: boolean;
}

/** Lets everyone read the files and folders that this process makes from here on. */
export function makeReadableFiles(): void {
  process.umask(READABLE_UMASK);
}

/** Copies a file, or a folder with all that is in it. Links become what they lead to. */
export function copyForImage(source: string, destination: string, choices: CopyChoices = {}): void {
  mkdirSync(dirname(destination), { recursive: true });
  copyPath(source, destination, '', choices);
}

function copyPath(source: string, destination: string, path: string, choices: CopyChoices): void {
  const stats = statSync(source);
  if (stats.isDirectory()) copyFolder(source, destination, path, choices);
  else if (stats.isFile()) copyFile(source, destination, stats, choices.mayLink ?? false);
}

function copyFolder(source: string, destination: string, path: string, choices: CopyChoices): void {
  mkdirSync(destination, { recursive: true });
  chmodSync(destination, FOLDER_MODE);
  for (const name of readdirSync(source)) {
    const inner = path === '' ? name : `${path}/${name}`;
    if (choices.isWanted?.(inner) ?? true) copyPath(join(source, name), join(destination, name), inner, choices);
  }
}

function copyFile(source: string, destination: string, { mode }: Stats, mayLink: boolean): void {
  if (mayLink && (mode & READABLE_BY_ALL) === READABLE_BY_ALL && isLinked(source, destination)) return;
  copyFileSync(source, destination);
  chmodSync(destination, (mode & EXECUTABLE_BY_OWNER) === 0 ? FILE_MODE : PROGRAM_MODE);
}

/** A hard link is impossible across file systems, and for files of others where the kernel protects them. */
function isLinked(source: string, destination: string): boolean {
  try {
    linkSync(realpathSync(source), destination);
    return true;
  } catch {
    return false;
  }
}
