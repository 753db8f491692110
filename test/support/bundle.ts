import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The bundle as `npm run build` makes it, and its programs as processes. */

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Bundle {
  /** Holds dist/, and what it was made of. */
  readonly folder: string;
  remove(): void;
}

/**
 * Bundles the sources as they are now, into a temporary folder: the build script runs there, over links to the
 * sources, so that no other test and no developer who bundles at the same time gets in the way.
 */
export function buildBundle(): Bundle {
  const folder = mkdtempSync(join(tmpdir(), 'blip-handler-bundle-'));
  const copied = ['build', 'examples', 'package.json'];
  for (const name of readdirSync(root).filter((entry) => !['dist', '.git', ...copied].includes(entry)))
    symlinkSync(join(root, name), join(folder, name));
  for (const name of copied) cpSync(join(root, name), join(folder, name), { recursive: true });
  execFileSync(process.execPath, ['--import', 'tsx', 'build/bundle.ts', '--quiet'], { cwd: folder, stdio: 'pipe' });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A copy of dist/ beside nothing but these packages. */
export function copyDist(bundle: Bundle, packages: readonly string[]): Bundle {
  const folder = mkdtempSync(join(tmpdir(), 'blip-handler-dist-'));
  cpSync(join(bundle.folder, 'dist'), join(folder, 'dist'), { recursive: true });
  for (const name of packages) copyPackage(name, join(folder, 'node_modules', name));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Copied, as a link would lead back to where all packages lie. Only this machine's binaries are. */
function copyPackage(name: string, destination: string): void {
  const own = `/${process.platform}/${process.arch}`;
  mkdirSync(destination, { recursive: true });
  cpSync(join(root, 'node_modules', name), destination, {
    recursive: true,
    filter: (source) => !/\/bin\/napi-v\d+\/\w+\/\w+/.test(source) || source.includes(own),
  });
}

/** The environment of a program: what it needs to run at all, and what a test sets. */
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
  /** Its log until now: one JSON object a line. */
  log(): readonly Readonly<Record<string, unknown>>[];
  kill(signal: NodeJS.Signals): void;
  /** How it ended, once it has. */
  readonly exit: Promise<Exit>;
}

/** Starts the bundled server on any port, and waits until it is ready, or only listens. */
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
  died.catch(() => undefined); // It ends later, as tests want it to.
  const message = until === 'ready' ? /^ready$/ : /^Server listening/;
  while (!log().some(({ msg }) => message.test(String(msg)))) await Promise.race([once(child, 'output'), died]);
  const [, url] = /listening at (http:[^"\s]+)/.exec(output()) ?? [];
  if (url === undefined || child.pid === undefined) throw new Error(`Expected a URL in the log, got ${output()}`);
  return { url, pid: child.pid, log, kill: (signal) => void child.kill(signal), exit };
}

function parseLine(line: string): Readonly<Record<string, unknown>> {
  return JSON.parse(line);
}
