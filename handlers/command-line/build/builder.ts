import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { HandlerError } from '../../../protocol/errors.ts';

/** The programs that build images. All of them read a Dockerfile; none is called through a shell. */

export const builderNames = ['docker', 'podman', 'buildah'] as const;
export type BuilderName = (typeof builderNames)[number];

/** An image to build. */
export interface ImageRequest {
  readonly tag: string;
  readonly dockerfile: string;
  readonly context: string;
  /** More folders that the Dockerfile copies from, by their names there. */
  readonly contexts: Readonly<Record<string, string>>;
  readonly buildArguments: Readonly<Record<string, string>>;
  /** `linux/amd64`; `undefined` for an image without programs. */
  readonly platform: string | undefined;
  readonly push: boolean;
  /** The builder's own arguments, which follow those of this package. */
  readonly more: readonly string[];
}

/** One start of a builder. */
export interface BuilderCall {
  readonly program: BuilderName;
  readonly args: readonly string[];
}

/** Images have this time where SOURCE_DATE_EPOCH, in seconds since 1970, names no other: two builds are alike. */
const DEFAULT_TIME = '0';

/** The first builder that is installed, unless one is asked for. @throws HandlerError `BUILD_FAILED`. */
export function findBuilder(asked: BuilderName | undefined): BuilderName {
  const candidates = asked === undefined ? builderNames : [asked];
  const found = candidates.find(isInstalled);
  if (found !== undefined) return found;
  const expected = candidates.map((name) => (name === 'docker' ? 'docker with buildx' : name)).join(', ');
  throw new HandlerError(
    'BUILD_FAILED',
    `Expected a program that builds images on the PATH (${expected}), got none. Install one. Without it, write the \
service into a folder with blip-handler build --folder.`,
  );
}

function isInstalled(name: BuilderName): boolean {
  const args = name === 'docker' ? ['buildx', 'version'] : ['--version'];
  return spawnSync(name, args, { stdio: 'ignore' }).status === 0;
}

/** The calls that build an image and, if asked to, push it. Without `push` it stays in the builder's own store. */
export function builderCalls(program: BuilderName, request: ImageRequest): readonly BuilderCall[] {
  const build = { program, args: [...buildArguments(program, request), ...request.more, request.context] };
  if (!request.push || program === 'docker') return [build];
  const insecure = isOnLoopback(request.tag) ? ['--tls-verify=false'] : [];
  return [build, { program, args: ['push', ...insecure, request.tag] }];
}

function buildArguments(program: BuilderName, request: ImageRequest): readonly string[] {
  const { tag, dockerfile, contexts, platform, push } = request;
  const time = imageTime();
  const own =
    program === 'docker'
      ? [
          'buildx',
          'build',
          '--provenance=false',
          '--build-arg',
          `SOURCE_DATE_EPOCH=${time}`,
          push ? '--push' : '--load',
        ]
      : ['build', '--layers', '--timestamp', time];
  return [
    ...own,
    ...['--file', dockerfile, '--tag', tag],
    ...(platform === undefined ? [] : ['--platform', platform]),
    ...pairs('--build-arg', request.buildArguments),
    ...pairs('--build-context', contexts),
  ];
}

function pairs(flag: string, values: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(values).flatMap(([name, value]) => [flag, `${name}=${value}`]);
}

function imageTime(): string {
  return process.env['SOURCE_DATE_EPOCH']?.trim() || DEFAULT_TIME;
}

/** Docker asks registries on this machine without TLS; podman and buildah are told to. */
function isOnLoopback(tag: string): boolean {
  return /^(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?\//.test(tag);
}

/**
 * Runs a builder to its end. Its output goes to stderr, because stdout has the result alone.
 * @throws HandlerError `BUILD_FAILED`; the signal's reason.
 */
export async function runBuilder({ program, args }: BuilderCall, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const child = spawn(program, args, { stdio: ['ignore', process.stderr.fd, process.stderr.fd] });
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  const [exitCode, endedBy] = await once(child, 'close').finally(() => signal.removeEventListener('abort', stop));
  signal.throwIfAborted();
  if (exitCode === 0) return;
  const end = exitCode === null ? `ended by ${endedBy}` : `exit code ${exitCode}`;
  throw new HandlerError('BUILD_FAILED', `Expected ${program} to succeed, got ${end}: see the lines above.`);
}
