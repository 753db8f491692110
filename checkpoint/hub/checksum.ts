import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isMissing } from '../files/file-errors.ts';
import type { Checksum, RemoteFile } from './listing.ts';

/** Begins the digest of a checksum. Git puts the kind and the size before the bytes. */
export function startDigest({ checksum, sizeBytes }: Pick<RemoteFile, 'checksum' | 'sizeBytes'>): Hash {
  return checksum.algorithm === 'sha256'
    ? createHash('sha256')
    : createHash('sha1').update(`blob ${sizeBytes}\0`, 'latin1');
}

export function describeChecksum({ algorithm, hex }: Checksum): string {
  return `${algorithm} ${hex}`;
}

/** Adds all bytes of a file to a digest. */
export async function digestFile(path: string, digest: Hash): Promise<void> {
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) digest.update(chunk);
}

/** Whether there is a file of that size. Files are put in place whole, so the size tells a file from another one. */
export async function hasSize(path: string, { sizeBytes }: RemoteFile): Promise<boolean> {
  return (await fileSize(path)) === sizeBytes;
}

/** Whether there is a file with exactly these bytes. */
export async function hasBytes(path: string, file: RemoteFile): Promise<boolean> {
  if (!(await hasSize(path, file))) return false;
  const digest = startDigest(file);
  await digestFile(path, digest);
  return digest.digest('hex') === file.checksum.hex;
}

async function fileSize(path: string): Promise<number | undefined> {
  try {
    const status = await stat(path);
    return status.isFile() ? status.size : undefined;
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw cause;
  }
}
