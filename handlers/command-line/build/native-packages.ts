import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { HandlerError } from '../../../protocol/errors.ts';
import type { ImageArchitecture } from './target.ts';

/** Finds the packages that dist/ needs beside it, with native code for the machine that will run. */

/** The fields of a package's package.json that are read here. npm writes them. */
interface PackageDescription {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export interface InstalledPackage {
  readonly name: string;
  readonly folder: string;
}

const nativePackages = ['onnxruntime-node', 'sharp'];

/** onnxruntime-node's install script alone needs these. */
const forInstallScripts = new Set(['adm-zip', 'global-agent']);

/**
 * The native packages and those that they need, each once.
 * @param from a file beside which Node would find the packages.
 * @param scratch an empty folder, into which npm installs them where those beside `from` are for another machine.
 * @throws HandlerError `BUILD_FAILED`.
 */
export function findNativePackages(
  from: string,
  architecture: ImageArchitecture,
  scratch: string,
): readonly InstalledPackage[] {
  const installed = collect(from, architecture);
  if (installed.missing.length === 0) return installed.packages;
  installForTarget(from, architecture, scratch);
  const fetched = collect(join(scratch, 'package.json'), architecture);
  if (fetched.missing.length === 0) return fetched.packages;
  throw failure(`npm did not install ${fetched.missing.join(', ')}`);
}

interface Collected {
  readonly packages: readonly InstalledPackage[];
  readonly missing: readonly string[];
}

function collect(from: string, architecture: ImageArchitecture): Collected {
  const packages = new Map<string, InstalledPackage>();
  const missing: string[] = [];
  const add = (name: string, dependent: string): void => {
    const folder = folderOf(name, dependent);
    if (folder === undefined) missing.push(name);
    if (folder === undefined || packages.has(name)) return;
    packages.set(name, { name, folder });
    for (const needed of neededBy(describePackage(folder), architecture)) add(needed, join(folder, 'package.json'));
  };
  for (const name of nativePackages) add(name, from);
  return { packages: [...packages.values()], missing };
}

function neededBy(description: PackageDescription, architecture: ImageArchitecture): readonly string[] {
  const { dependencies = {}, optionalDependencies = {} } = description;
  const ofTarget = new RegExp(`-linux-${architecture}$`);
  return [
    ...Object.keys(dependencies).filter((name) => !forInstallScripts.has(name)),
    ...Object.keys(optionalDependencies).filter((name) => ofTarget.test(name)),
  ];
}

/** The folder that Node would import the package from, whether its package.json is exported or not. */
function folderOf(name: string, from: string): string | undefined {
  const parents = createRequire(from).resolve.paths(name) ?? [];
  return parents.map((parent) => join(parent, name)).find((folder) => existsSync(join(folder, 'package.json')));
}

function describePackage(folder: string): PackageDescription {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

/** Installs the versions that are beside `from`, for Linux with glibc. */
function installForTarget(from: string, architecture: ImageArchitecture, scratch: string): void {
  const versions = nativePackages.map((name) => {
    const folder = folderOf(name, from);
    if (folder === undefined) throw failure(`${name} is not installed beside ${dirname(from)}: run npm install`);
    return [name, describePackage(folder).version] as const;
  });
  writeFileSync(join(scratch, 'package.json'), JSON.stringify({ dependencies: Object.fromEntries(versions) }));
  process.stderr.write(
    `npm installs ${versions.map((pair) => pair.join(' ')).join(' and ')} for linux ${architecture}.\n`,
  );
  const target = ['--os=linux', `--cpu=${architecture}`, '--libc=glibc'];
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const isWindows = process.platform === 'win32'; // npm is a batch file there, which a shell alone runs.
  const { status } = spawnSync('npm', ['install', ...target, ...quiet], {
    cwd: scratch,
    shell: isWindows,
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
  });
  if (status !== 0) throw failure(`npm install for linux ${architecture} failed (exit code ${status})`);
}

function failure(problem: string): HandlerError {
  return new HandlerError('BUILD_FAILED', `Expected onnxruntime-node and sharp for the image: ${problem}.`);
}
