import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The bundle that `npm run build` makes, and its programs as processes. */

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Bundle {
  /** Holds dist/. */
  readonly folder: string;
}

/** A bundle in a temporary folder of its own. */
export interface TemporaryBundle extends Bundle {
  remove(): void;
}

/**
 * Bundles the current sources into a temporary folder, which holds links to the sources besides dist/: the build script
 * runs there, so that it disturbs nobody who bundles at the same time. All tests share one bundle: see built-bundle.ts.
 */
export function buildBundle(): TemporaryBundle {
  const folder = mkdtempSync(join(tmpdir(), 'blip-handler-bundle-'));
  const copied = ['build', 'examples', 'package.json'];
  for (const name of readdirSync(root).filter((entry) => !['dist', '.git', ...copied].includes(entry)))
    symlinkSync(join(root, name), join(folder, name));
  for (const name of copied) cpSync(join(root, name), join(folder, name), { recursive: true });
  execFileSync(process.execPath, ['--import', 'tsx', 'build/bundle.ts', '--quiet'], { cwd: folder, stdio: 'pipe' });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/**
 * A copy of dist/ beside nothing but these packages. Its files are hard links, as a symbolic link would lead back to
 * the folder of all packages: add files to the copy, but write into none.
 */
export function copyDist(bundle: Bundle, packages: readonly string[]): TemporaryBundle {
  const folder = mkdtempSync(join(tmpdir(), 'blip-handler-dist-'));
  linkFiles(join(bundle.folder, 'dist'), join(folder, 'dist'));
  for (const name of packages) linkFiles(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Links every file below a folder, without binaries for other machines. */
function linkFiles(source: string, destination: string): void {
  const ownBinaries = `/${process.platform}/${process.arch}`;
  for (const entry of readdirSync(source, { recursive: true, withFileTypes: true })) {
    const from = join(entry.parentPath, entry.name);
    const isForeign = /\/bin\/napi-v\d+\/\w+\/\w+/.test(from) && !from.includes(ownBinaries);
    if (entry.isFile() && !isForeign) linkFile(from, join(destination, from.slice(source.length)));
  }
}

function linkFile(source: string, destination: string): void {
  mkdirSync(dirname(destination), { recursive: true });
  try {
    linkSync(source, destination);
  } catch {
    cpSync(source, destination); // The temporary folder lies on another file system.
  }
}

/** The environment of a program: the variables that it needs to run at all, and those that a test sets. */
export function programEnvironment(variables: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const { PATH = '', HOME = '', TMPDIR = '' } = process.env;
  return {
    PATH,
    HOME,
    ...(TMPDIR === '' ? {} : { TMPDIR }),
    BLIP_EXECUTION_PROVIDER: 'cpu',
    BLIP_IMAGE_PRIVATE_HOSTS: '127.0.0.1',
    ...variables,
  };
}

export interface Exit {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program of a bundle to its end. */
export async function runProgram(
  bundle: Bundle,
  program: string,
  options: {
    readonly args?: readonly string[];
    readonly cwd?: string;
    readonly variables?: Readonly<Record<string, string>>;
  } = {},
): Promise<Exit> {
  const { args = [], cwd = bundle.folder, variables } = options;
  return await startProgram(bundle, program, args, cwd, variables).exit;
}

/** Starts a program of a bundle. */
export function startProgram(
  bundle: Bundle,
  program: string,
  args: readonly string[],
  cwd: string,
  variables: Readonly<Record<string, string>> | undefined,
): { readonly child: ChildProcess; readonly output: () => string; readonly exit: Promise<Exit> } {
  const child = spawn(process.execPath, [join(bundle.folder, 'dist', program), ...args], {
    cwd,
    env: programEnvironment(variables),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    child.emit('output');
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const exit = once(child, 'close').then(([exitCode, signal]) => ({ exitCode, signal, stdout, stderr }));
  return { child, output: () => stdout, exit };
}

export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
  /** The log until now: one JSON object a line. */
  log(): readonly Readonly<Record<string, unknown>>[];
  kill(signal: NodeJS.Signals): void;
  /** Resolves when the process has ended. */
  readonly exit: Promise<Exit>;
}

/** Starts the bundled server on a free port, and waits until it is ready or, if so wished, listens. */
export async function startServerProcess(
  bundle: Bundle,
  variables: Readonly<Record<string, string>> = {},
  until: 'ready' | 'listening' = 'ready',
  [program, ...args]: readonly [program: string, ...args: string[]] = ['serve.js'],
): Promise<ServerProcess> {
  const { child, output, exit } = startProgram(bundle, program, args, bundle.folder, {
    PORT: '0',
    LOG_LEVEL: 'info',
    ...variables,
  });
  const log = () => output().split('\n').slice(0, -1).map(parseLine);
  const died = exit.then((ended) => {
    throw new Error(`Expected the server to start, but it ended: ${JSON.stringify(ended)}`);
  });
  died.catch(() => undefined); // Every server ends later.
  const message = until === 'ready' ? /^ready$/ : /^Server listening/;
  while (!log().some(({ msg }) => message.test(String(msg)))) await Promise.race([once(child, 'output'), died]);
  const [, url] = /listening at (http:[^"\s]+)/.exec(output()) ?? [];
  if (url === undefined || child.pid === undefined) throw new Error(`Expected a URL in the log, got ${output()}`);
  return { url, pid: child.pid, log, kill: (signal) => void child.kill(signal), exit };
}

function parseLine(line: string): Readonly<Record<string, unknown>> {
  return JSON.parse(line);
}
