import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '../checkpoint/errors.ts';
import { HandlerError } from '../protocol/errors.ts';

/** Explains why a package with native code does not load: it is installed by half, or for another system. */

/** Systems for which onnxruntime-node has native code; sharp has it for all of these. */
const supportedSystems = ['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64', 'win32-arm64'];

/** Texts of errors of the system's loaders, of Node's, and of sharp, which looks for its library itself. */
const loaderMessage =
  /shared object|shared library|\bELF\b|not a valid Win32|specified module could not|mach-o|incompatible architecture|version `GLIBC|undefined symbol|Could not load the "sharp"|Cannot find (?:package|module)|Named export|not provide an export/;

/** This machine, as far as native code depends on it. */
export interface NativeSystem {
  /** As onnxruntime-node and sharp name it, such as `linux-x64`. */
  readonly name: string;
  readonly isMusl: boolean;
}

/** The native code of one package, as it lies on disk. */
interface NativePackage {
  readonly name: string;
  /** The folder that has the native code of each system. */
  readonly folder: string;
  /** The systems whose native code is there. */
  readonly systems: readonly string[];
}

/**
 * The error of a start, explained where a package with native code is the reason.
 * @param modulePath a file of this package: the packages are looked for as this file imports them.
 */
export function explainNativeFailure(
  thrown: unknown,
  system: NativeSystem = thisSystem(),
  modulePath: string = fileURLToPath(import.meta.url),
): unknown {
  if (!(thrown instanceof Error) || thrown instanceof HandlerError || thrown instanceof CheckpointError) return thrown;
  const reason = nativeReason(thrown, system, modulePath);
  return reason === undefined ? thrown : new HandlerError('NATIVE_LIBRARY_UNUSABLE', reason, { cause: thrown });
}

function nativeReason({ message }: Error, system: NativeSystem, modulePath: string): string | undefined {
  if (!loaderMessage.test(message)) return undefined;
  const problem =
    problemOnDisk(system.name, modulePath) ?? `onnxruntime-node and sharp to load, got: ${firstLine(message)}`;
  return unsupportedReason(system) ?? `Expected ${problem}. ${remedyIn(modulePath)}`;
}

/** The part that the installation lacks for the system; `undefined` where all is there. */
function problemOnDisk(system: string, modulePath: string): string | undefined {
  const runtime = folderOf('onnxruntime-node', modulePath);
  if (runtime === undefined) return missing('onnxruntime-node');
  if (folderOf('onnxruntime-common', join(runtime, 'package.json')) === undefined) return missing('onnxruntime-common');
  const sharp = folderOf('sharp', modulePath);
  if (sharp === undefined) return missing('sharp');
  const lacking = [nativeCodeOfRuntime(runtime), nativeCodeOfSharp(sharp)].find(
    ({ systems }) => !systems.includes(system),
  );
  if (lacking === undefined) return undefined;
  const found = lacking.systems.length === 0 ? 'none' : `that for ${lacking.systems.join(', ')}`;
  return `${lacking.name} with native code for ${system}, got ${found} in ${lacking.folder}`;
}

function missing(name: string): string {
  return `${name} to be installed, got no such package`;
}

function unsupportedReason({ name, isMusl }: NativeSystem): string | undefined {
  if (isMusl)
    return 'Expected a system with glibc, which onnxruntime-node needs, got one with musl, such as Alpine. Use a Debian image.';
  if (supportedSystems.includes(name)) return undefined;
  return `Expected one of the systems that onnxruntime-node has native code for (${supportedSystems.join(', ')}), got ${name}.`;
}

/** The command that installs the packages whole, and where to run it. */
function remedyIn(modulePath: string): string {
  const [project = '', inProject] = modulePath.split(/[\\/]node_modules[\\/]/);
  const folder = inProject === undefined ? packageFolder(modulePath) : project;
  const has = (file: string) => existsSync(join(folder, file));
  const copying = has('package.json') ? '' : 'Copy package.json and package-lock.json beside dist/. ';
  const isLocked = copying !== '' || has('package-lock.json');
  const isBundleAlone = inProject === undefined && !modulePath.endsWith('.ts');
  const command = isLocked ? `npm ci${isBundleAlone ? ' --omit=dev' : ''}` : 'npm install';
  const install = `${command} --include=optional --ignore-scripts`;
  return `${copying}Remove node_modules in ${folder}, and run there, on this system: ${install}`;
}

/** The folder above the sources, or above dist/. */
function packageFolder(modulePath: string): string {
  const parents = modulePath.split(/[\\/]/).map((_, index, parts) => parts.slice(0, -1 - index).join(sep));
  return parents.find((folder) => existsSync(join(folder, 'package.json'))) ?? dirname(dirname(modulePath));
}

function nativeCodeOfRuntime(folder: string): NativePackage {
  const binaries = join(folder, 'bin');
  const systems = namesIn(binaries).flatMap((abi) =>
    namesIn(join(binaries, abi)).flatMap((platform) =>
      namesIn(join(binaries, abi, platform))
        .filter((cpu) => namesIn(join(binaries, abi, platform, cpu)).includes('onnxruntime_binding.node'))
        .map((cpu) => `${platform}-${cpu}`),
    ),
  );
  return { name: 'onnxruntime-node', folder: binaries, systems };
}

/** sharp's native code lies in packages of their own beside it, one for each system, which npm installs as optional. */
function nativeCodeOfSharp(folder: string): NativePackage {
  const beside = join(dirname(realpathSync(folder)), '@img');
  const found = namesIn(beside).flatMap((name) => /^sharp-(?!libvips)(\w+-\w+)$/.exec(name)?.[1] ?? []);
  return { name: 'sharp', folder: beside, systems: found.filter((system) => hasLibvips(system, beside)) };
}

/** On Windows, the package of sharp has libvips in it. */
function hasLibvips(system: string, beside: string): boolean {
  return system.startsWith('win32') || existsSync(join(beside, `sharp-libvips-${system}`));
}

function folderOf(name: string, modulePath: string): string | undefined {
  const parents = createRequire(modulePath).resolve.paths(name) ?? [];
  return parents.map((parent) => join(parent, name)).find((folder) => existsSync(join(folder, 'package.json')));
}

function namesIn(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

function thisSystem(): NativeSystem {
  return { name: `${process.platform}-${process.arch}`, isMusl: process.platform === 'linux' && !hasGlibc() };
}

/** Node's own report says which C library it runs on. */
function hasGlibc(): boolean {
  const { header } = process.report.getReport() as { readonly header?: { readonly glibcVersionRuntime?: string } }; // Node's documentation, "Diagnostic report".
  return header?.glibcVersionRuntime !== undefined;
}

function firstLine(message: string): string {
  return (message.split('\n', 1)[0] ?? '').replace(/\.$/, '');
}
