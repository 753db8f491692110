import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from './temporary-folder.ts';
import { type ZipContent, zipFile } from './zip-file.ts';

/** Archives that torch.save wrote: test/fixtures/make_torch_archives.py. */
export function torchArchivePath(file: string): string {
  return fileURLToPath(new URL(`../fixtures/torch-archives/${file}`, import.meta.url));
}

/** Writes pytorch_model.bin into a folder of its own. */
export function writeTorchArchive(bytes: Uint8Array): string {
  return join(temporaryFolder({ 'pytorch_model.bin': bytes }), 'pytorch_model.bin');
}

/** Storages by their keys: their bytes, or how many. */
export type Storages = Readonly<Record<string, Uint8Array | number>>;

/** Records of an archive as torch.save writes them. The one storage has 24 bytes, unless a test asks otherwise. */
export function torchRecords(pickle: Uint8Array, storages: Storages = { 0: 24 }): ZipContent {
  const data = Object.entries(storages).map(
    ([key, bytes]) => [`archive/data/${key}`, typeof bytes === 'number' ? Buffer.alloc(bytes) : bytes] as const,
  );
  return [['archive/data.pkl', pickle], ['archive/byteorder', 'little'], ...data, ['archive/version', '3\n']];
}

/** The bytes of an archive with this pickle. */
export function torchArchive(pickle: Uint8Array, storages?: Storages): Buffer {
  return zipFile(torchRecords(pickle, storages)).bytes;
}
