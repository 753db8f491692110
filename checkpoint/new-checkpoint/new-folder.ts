import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { readBytes, withFile } from '../files/binary-file.ts';
import { hasRegularFile } from '../files/regular-file.ts';
import { type Layout, layoutOf, transformersLayout } from '../weights/layout.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { bandsOf } from './bands.ts';
import { type TensorToWrite, writeSafetensors } from './write-safetensors.ts';

export interface WriteOptions {
  /** Called after each tensor. */
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void;
  /** Ends the work between two tensors. No file is left. */
  readonly signal?: AbortSignal;
}

/**
 * Makes a folder that appears only when it is whole: it is written beside its place, under another name.
 * @param target a folder that does not exist yet, or is empty.
 * @throws the errors of `write`, and of the file system.
 */
export async function writeNewFolder(target: string, write: (folder: string) => Promise<void>): Promise<void> {
  const finalFolder = resolve(target);
  const unfinishedFolder = join(dirname(finalFolder), `.${basename(finalFolder)}.${randomUUID()}`);
  await mkdir(unfinishedFolder, { recursive: true });
  try {
    await write(unfinishedFolder);
    await rename(unfinishedFolder, finalFolder);
  } catch (error) {
    await rm(unfinishedFolder, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Writes the weights of a new checkpoint into a folder, one tensor after the other.
 * @param layout of the new checkpoint.
 * @returns their bytes.
 * @throws as `writeSafetensors` does; the reason of `signal`.
 */
export async function writeWeights(
  folder: string,
  tensors: readonly TensorToWrite[],
  { onProgress, signal }: WriteOptions,
  layout: Layout = transformersLayout,
): Promise<number> {
  const weightsBytes = totalBytes(tensors);
  let writtenBytes = 0;
  await writeSafetensors(join(folder, layout.newWeightsFile), tensors, ({ lengthBytes }) => {
    signal?.throwIfAborted();
    writtenBytes += lengthBytes;
    onProgress?.(writtenBytes, weightsBytes);
  });
  return weightsBytes;
}

export function totalBytes(tensors: readonly { readonly lengthBytes: number }[]): number {
  return tensors.reduce((total, { lengthBytes }) => total + lengthBytes, 0);
}

/** A tensor that stays as it is. */
export function copiedTensor(name: string, region: TensorRegion): TensorToWrite {
  const { dtype, shape, lengthBytes } = region;
  return { name, dtype, shape, lengthBytes, read: () => bytesOf(region) };
}

function* bytesOf(region: TensorRegion): Generator<Uint8Array> {
  for (const { path, offsetBytes, lengthBytes } of bandsOf(region))
    yield withFile(path, (file) => readBytes(file, offsetBytes, lengthBytes));
}

/** Copies the small files of a checkpoint that exist. */
export async function copySettings(folder: string, target: string, except: readonly string[] = []): Promise<void> {
  for (const file of layoutOf(folder).settingsFiles) {
    if (except.includes(file) || !hasRegularFile(join(folder, file))) continue;
    await mkdir(dirname(join(target, file)), { recursive: true });
    await copyFile(join(folder, file), join(target, file));
  }
}
