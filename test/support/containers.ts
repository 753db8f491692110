import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/**
 * Debian's programs for images: mmdebstrap makes a base image, buildah builds, podman and runc run, skopeo reads, and
 * docker-registry keeps. .ci/run installs them. All that they write lies in a temporary folder. They need root.
 */

const programs = ['buildah', 'podman', 'runc', 'skopeo', 'docker-registry', 'mmdebstrap'] as const;

/** The programs that this machine lacks. */
export const missingPrograms = programs.filter((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).error);

/** Debian's packages that Node and the native packages need. dash runs the one command of the Dockerfile. */
const basePackages = ['libc6', 'libgcc-s1', 'libstdc++6', 'dash'];

export interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A store of images and containers in a temporary folder. */
export class Containers {
  readonly folder = mkdtempSync(join(tmpdir(), 'blip-handler-containers-'));
  readonly #registries: (() => void)[] = [];

  constructor() {
    this.#write('storage.conf', [
      '[storage]',
      'driver = "overlay"',
      `graphroot = "${join(this.folder, 'images')}"`,
      `runroot = "${join(this.folder, 'run')}"`,
    ]);
    // Debian's runc and cgroupfs work on machines without systemd.
    this.#write('containers.conf', [
      '[containers]',
      'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
      '[engine]',
      'runtime = "runc"',
      'cgroup_manager = "cgroupfs"',
      'events_logger = "file"',
      `static_dir = "${join(this.folder, 'libpod')}"`,
      `tmp_dir = "${join(this.folder, 'libpod-run')}"`,
      `volume_path = "${join(this.folder, 'volumes')}"`,
    ]);
  }

  /** The environment of all programs. */
  get environment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      BUILDAH_ISOLATION: 'chroot',
      CONTAINERS_STORAGE_CONF: join(this.folder, 'storage.conf'),
      CONTAINERS_CONF: join(this.folder, 'containers.conf'),
      TMPDIR: this.folder,
    };
  }

  /** Runs a program to its end. */
  run(program: string, ...args: readonly string[]): Promise<Ran> {
    return new Promise((resolve) => {
      const options = { env: this.environment, cwd: this.folder, maxBuffer: 2 ** 26 };
      execFile(program, args, options, (error, stdout, stderr) =>
        resolve({ exitCode: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
    });
  }

  /** What a program prints. @throws Error when it fails. */
  async read(program: string, ...args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(program, ...args);
    if (exitCode !== 0) throw new Error(`${program} ${args.join(' ')}: exit code ${exitCode}\n${stderr}`);
    return stdout.trim();
  }

  /**
   * Runs a container to its end. It is detached: podman 4.3 otherwise waits 20 s for conmon to go, which on a machine whose
   * first process reaps no others stays as a zombie.
   */
  async runToEnd(...args: readonly string[]): Promise<Ran> {
    return await this.ended(await this.read('podman', 'run', '--detach', '--network=none', ...args));
  }

  /** The exit code and the output of a container, when it has ended. */
  async ended(id: string): Promise<Ran> {
    // It is "stopped" until somebody cleans up behind it, and "exited" then.
    await outputHas(
      () => this.read('podman', 'container', 'inspect', '--format={{.State.Status}}', id),
      /stopped|exited/,
    );
    const exitCode = await this.read('podman', 'container', 'inspect', '--format={{.State.ExitCode}}', id);
    const { stdout, stderr } = await this.run('podman', 'logs', id);
    return { exitCode: Number(exitCode), stdout, stderr };
  }

  /** Makes a Debian of the packages that the service needs, and the same with this process' Node, as two images. */
  async makeBases(base: string, node: string): Promise<void> {
    const context = join(this.folder, 'bases');
    mkdirSync(context);
    const include = `--include=${basePackages.join(',')}`;
    await this.read('mmdebstrap', '--variant=extract', include, 'bookworm', join(context, 'base.tar'));
    copyFileSync(process.execPath, join(context, 'node'));
    const lines = ['FROM scratch', 'ADD base.tar /'];
    this.#write('bases/base', lines);
    this.#write('bases/node.Dockerfile', [`FROM ${base}`, 'COPY node /usr/local/bin/node']);
    await this.read('buildah', 'build', '--timestamp=0', '--file', join(context, 'base'), '--tag', base, context);
    const nodeFile = join(context, 'node.Dockerfile');
    await this.read('buildah', 'build', '--timestamp=0', '--file', nodeFile, '--tag', node, context);
  }

  /** Starts a registry on loopback. @returns its address. */
  async startRegistry(): Promise<string> {
    this.#write('registry.yml', [
      'version: 0.1',
      'log: { accesslog: { disabled: true } }',
      `storage: { filesystem: { rootdirectory: ${join(this.folder, 'registry')} } }`,
      'http: { addr: "127.0.0.1:0" }',
    ]);
    const registry = spawn('docker-registry', ['serve', join(this.folder, 'registry.yml')], {
      env: { ...this.environment, OTEL_TRACES_EXPORTER: 'none' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#registries.push(() => void registry.kill());
    for await (const line of createInterface(registry.stderr)) {
      const [, address] = /listening on (127\.0\.0\.1:\d+)/.exec(line) ?? [];
      if (address === undefined) continue;
      registry.stderr.resume();
      return address;
    }
    throw new Error('Expected the registry to listen, but it ended.');
  }

  /** Ends all that runs, and removes all that was written. */
  async remove(): Promise<void> {
    for (const stop of this.#registries) stop();
    await this.run('podman', 'rm', '--all', '--force', '--time=0');
    await this.run('podman', 'rmi', '--all', '--force');
    await this.run('umount', join(this.folder, 'images', 'overlay'));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #write(name: string, lines: readonly string[]): void {
    writeFileSync(join(this.folder, name), `${lines.join('\n')}\n`);
  }
}

/** Resolves when a program's output has this text. */
export async function outputHas(read: () => Promise<string>, text: RegExp): Promise<string> {
  for (;;) {
    const output = await read();
    if (text.test(output)) return output;
    await once(AbortSignal.timeout(100), 'abort');
  }
}
