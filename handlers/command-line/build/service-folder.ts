import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { CudaVersion } from '../../../pipeline/cuda/provider-install.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { shippedFile } from '../../../shipped-files.ts';
import { copyForImage } from './copied-files.ts';
import { findNativePackages, type InstalledPackage } from './native-packages.ts';
import type { ImageArchitecture } from './target.ts';

/** The service as it lies in an image: dist/ beside its native packages, for one machine. */

export interface ServiceTarget {
  readonly architecture: ImageArchitecture;
  /** `undefined` for a CPU. With CUDA the architecture is x64. */
  readonly cuda: CudaVersion | undefined;
}

/**
 * Writes dist/, package.json, the licence and node_modules into a new folder. `node FOLDER/dist/main.js serve` runs there.
 * @throws HandlerError `BUILD_FAILED`.
 */
export function writeService(folder: string, { architecture, cuda }: ServiceTarget): void {
  const dist = findDist();
  mkdirSync(folder, { recursive: true });
  copyForImage(dist, join(folder, 'dist'), { isWanted: isNeededToRun });
  for (const file of ['package.json', 'LICENSE']) copyForImage(join(dirname(dist), file), join(folder, file));
  withScratchFolder((scratch) => {
    const packages = findNativePackages(join(dist, 'main.js'), architecture, scratch);
    for (const each of packages) copyPackage(each, join(folder, 'node_modules'), architecture);
  });
  if (cuda !== undefined) addProvider(join(folder, 'node_modules', 'onnxruntime-node', 'bin'), architecture, cuda);
}

/** dist/ of this package: the folder of this file in the bundle, or the one beside the sources. */
export function findDist(): string {
  const folders = [shippedFile('.'), shippedFile('dist')];
  const dist = folders.find((folder) => existsSync(join(folder, 'main.js')));
  if (dist !== undefined) return dist;
  throw new HandlerError('BUILD_FAILED', `Expected the bundle in ${folders[1]}, got none. Run npm run build first.`);
}

/** Source maps and declarations are half of dist/, and serve those who develop. */
function isNeededToRun(path: string): boolean {
  return !path.endsWith('.map') && path !== 'types';
}

function copyPackage({ name, folder }: InstalledPackage, parent: string, architecture: ImageArchitecture): void {
  const isForeign = (path: string) => {
    const [, system, processor] = /^bin\/napi-v\d+\/(\w+)(?:\/(\w+))?/.exec(path) ?? [];
    return (system !== undefined && system !== 'linux') || (processor !== undefined && processor !== architecture);
  };
  const isWanted = (path: string) => path !== 'node_modules' && !/\.(?:map|d\.[cm]?ts)$/.test(path) && !isForeign(path);
  copyForImage(folder, join(parent, name), { isWanted });
}

/** The command `gpu` checks commit and checksum, and shows its progress. */
function addProvider(binaries: string, architecture: ImageArchitecture, cuda: CudaVersion): void {
  const [abi = ''] = readdirSync(binaries);
  const folder = join(binaries, abi, 'linux', architecture);
  const program = join(findDist(), 'main.js');
  const { status } = spawnSync(process.execPath, [program, 'gpu', '--cuda', cuda, '--folder', folder], {
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
  });
  if (status !== 0) throw new HandlerError('BUILD_FAILED', "Expected CUDA's provider, got none: see the lines above.");
}

/** Gives an action a temporary folder, and removes it afterwards. */
function withScratchFolder(action: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'blip-handler-packages-'));
  try {
    action(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
