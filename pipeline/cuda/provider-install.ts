import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Proxies } from '../../network/proxy-connections.ts';
import { installFailure } from './install-failure.ts';
import { findNugetPackage } from './nuget-feed.ts';
import { type DownloadListener, PackageConnection } from './package-connection.ts';
import { findWheel } from './python-index.ts';
import { providerFiles } from './runtime-folder.ts';
import { listZipEntries, openZipEntry, type ZipEntry } from './zip-entries.ts';

/** The versions of CUDA that onnxruntime has a provider for. */
export const cudaVersions = ['12', '13'] as const;
export type CudaVersion = (typeof cudaVersions)[number];

export interface InstallOptions {
  readonly cuda: CudaVersion;
  /** Version of onnxruntime. */
  readonly version: string;
  /** The folder with onnxruntime's own library, which gets the provider. */
  readonly folder: string;
  /** PyPI's simple index for CUDA 13, a feed of NuGet for CUDA 12, or a mirror of it. */
  readonly index: URL;
  readonly proxies: Proxies;
  readonly signal: AbortSignal;
  readonly onBytes?: DownloadListener;
  readonly retryDelayMs?: number;
}

export interface InstalledProvider {
  /** The file that the provider was taken from. */
  readonly source: string;
  /** Whether the registry gave a checksum, which fitted. */
  readonly isChecked: boolean;
  /** The commit that the provider and the runtime are built from. */
  readonly commit: string;
  readonly files: readonly string[];
}

const RUNTIME = 'libonnxruntime.so.1';
/** With the character behind it, so that none is found where a piece of the file ends. */
const COMMIT = /git-commit-id=(\w+)\W/;
/** Longer than the text that has the commit. */
const OVERLAP_CHARACTERS = 64;

/**
 * Fetches CUDA's provider for the installed runtime, and puts it beside the runtime's own library. Both must be built from
 * one commit. The files appear whole or not at all.
 * @throws HandlerError `PROVIDER_INSTALL_FAILED`; the signal's reason.
 */
export async function installProvider(options: InstallOptions): Promise<InstalledProvider> {
  const { folder, cuda, index, version, proxies, signal, onBytes = () => undefined, retryDelayMs } = options;
  const commit = await commitOf(createReadStream(join(folder, RUNTIME)), RUNTIME);
  const connection = new PackageConnection(proxies, signal, retryDelayMs);
  // In the folder itself, so that a rename does not cross file systems.
  const temporary = await mkdtemp(join(folder, '.provider-')).catch((cause: unknown) => {
    throw installFailure(`${folder}: expected a folder that can be written, got another.`, { cause });
  });
  try {
    const file = await (cuda === '13' ? findWheel : findNugetPackage)(connection, index, version);
    const archive = join(temporary, 'package.zip');
    await connection.download(file, archive, onBytes);
    await takeProvider(archive, temporary, { cuda, commit, name: file.name });
    for (const name of providerFiles.toReversed()) await rename(join(temporary, name), join(folder, name));
    return { source: file.name, isChecked: file.checksum !== undefined, commit, files: providerFiles };
  } finally {
    await connection.close();
    await rm(temporary, { recursive: true, force: true });
  }
}

interface Expected {
  readonly cuda: CudaVersion;
  readonly commit: string;
  /** Of the package, for messages. */
  readonly name: string;
}

async function takeProvider(archive: string, folder: string, { cuda, commit, name }: Expected): Promise<void> {
  const entries = await listZipEntries(archive);
  const find = (pattern: RegExp) => {
    const entry = entries.find((each) => pattern.test(each.name));
    if (entry === undefined) throw installFailure(`${name}: expected a file like ${pattern.source}, got none.`);
    return entry;
  };
  const runtime = find(/\/libonnxruntime\.so(?:\.\d+)*$/);
  const theirs = await commitOf(await openZipEntry(archive, runtime), name);
  if (theirs !== commit) throw installFailure(`${name}: expected onnxruntime of commit ${commit}, got ${theirs}.`);
  for (const file of providerFiles)
    await extract(archive, find(new RegExp(`/${file.replaceAll('.', '\\.')}$`)), join(folder, file));
  await requireCuda(join(folder, providerFiles[0]), cuda, name);
}

async function extract(archive: string, entry: ZipEntry, path: string): Promise<void> {
  const target = createWriteStream(path, { flush: true });
  await pipeline(await openZipEntry(archive, entry), target);
  if (target.bytesWritten !== entry.lengthBytes)
    throw installFailure(`${entry.name}: expected ${entry.lengthBytes} bytes, got ${target.bytesWritten}.`);
}

/** Both libraries of onnxruntime say which commit they are built from. */
async function commitOf(bytes: Readable, name: string): Promise<string> {
  const commit = await findText(bytes, COMMIT).catch((cause: unknown) => {
    throw installFailure(`${name}: expected a library of onnxruntime that can be read, got none.`, { cause });
  });
  if (commit === undefined) throw installFailure(`${name}: expected a library that says its commit, got none.`);
  return commit;
}

/** A package of the right version may be built for another CUDA: the names of the libraries that it needs tell. */
async function requireCuda(provider: string, cuda: CudaVersion, name: string): Promise<void> {
  const major = await findText(createReadStream(provider, { highWaterMark: 1 << 20 }), /libcudart\.so\.(\d+)\0/);
  if (major !== cuda) throw installFailure(`${name}: expected a provider for CUDA ${cuda}, got one for ${major}.`);
}

/** The first group of the first match in a stream of bytes. */
async function findText(bytes: Readable, pattern: RegExp): Promise<string | undefined> {
  let tail = '';
  for await (const chunk of bytes as AsyncIterable<Buffer>) {
    const text = tail + chunk.toString('latin1');
    const found = pattern.exec(text)?.[1];
    if (found !== undefined) return found;
    tail = text.slice(-OVERLAP_CHARACTERS);
  }
  return undefined;
}
