import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { type Exit, runProgram, startServerProcess } from '../../support/bundle.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { hubEnvironment, MODEL, startHub } from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** `build` as far as it needs no program that builds images: test/build/image-from-bundle.test.ts has the rest. */

const bundle = builtBundle();
const checkpoint = checkpointFolder('narrow-vision');

/** Runs `build` in a folder with these files. */
function build(
  args: readonly string[],
  files: Readonly<Record<string, string>> = {},
  variables: Readonly<Record<string, string>> = {},
): Promise<Exit> {
  return runProgram(bundle, 'main.js', { args: ['build', ...args], cwd: temporaryFolder(files), variables });
}

describe('arguments', () => {
  test.each([
    [['--tga', 'x'], "INVALID_REQUEST: Unknown option '--tga': did you mean --tag? Try --help."],
    [['--cuda', '11'], 'INVALID_REQUEST: Expected --cuda to be 12 or 13, got "11".'],
    [['--architecture', 'mips'], 'INVALID_REQUEST: Expected the architecture x64 or arm64, got "mips".'],
    [['--builder', 'kaniko'], 'INVALID_REQUEST: Expected --builder to be docker or podman or buildah, got "kaniko".'],
    [['--model-only', 'x'], 'INVALID_REQUEST: Expected --tag NAME:TAG beside --model-only, got none.'],
    [['--model-only', 'x', '--tag', 'y', '--cuda', '12'], 'INVALID_REQUEST: --cuda has no effect beside --model-only'],
    [['--folder', 'x', '--push'], 'INVALID_REQUEST: --push has no effect beside --folder'],
    [['--model-only', 'x', '--tag', 'y', '--file', 'z'], 'INVALID_REQUEST: --file has no effect beside --model-only'],
    [['--folder', 'x', '--', '--no-cache'], 'INVALID_REQUEST: -- --no-cache has no effect beside --folder'],
    [
      ['--folder', 'x', '--checkpoint', 'a/b', '--cuda', '13', '--architecture', 'arm64'],
      'INVALID_REQUEST: Expected the architecture x64 for CUDA, which onnxruntime-node has for Linux x64 alone, got arm64.',
    ],
    [['--file', 'other.yaml'], 'BUILD_FILE_INVALID: other.yaml: Expected a file, got none.'],
    [
      ['--checkpoint', 'a b', '--folder', 'x'],
      'CHECKPOINT_NOT_FOUND: a b: expected a checkpoint folder, or OWNER/NAME',
    ],
  ])('%j are refused', async (args, message) => {
    const { exitCode, stdout, stderr } = await build(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toContain(message);
  });

  test('no builder is named with those that would do', async () => {
    const { exitCode, stderr } = await build([], {}, { PATH: temporaryFolder() });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^BUILD_FAILED: .*\(docker with buildx, podman, buildah\), got none\. .*--folder\.$/m);
  });

  test('--help explains all', async () => {
    const { exitCode, stdout } = await build(['--help']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^Usage: blip-handler build .*--checkpoint.*--model-only.*build\.yaml/s);
  });
});

describe('build.yaml', () => {
  test.each([
    ['lables: {}', 'Expected the file to have known names only, got "lables": did you mean labels?'],
    ['cuda: 11', 'Expected cuda to be one of 12, 13, got "11".'],
    ['name: [a]', 'Expected name to be string, got a list of 1.'],
    ['checkpoints: [{ name: a, checkpont: b }]', 'Expected checkpoints[0] to have checkpoint, got none.'],
    ['environment: { "A-B": 1 }', 'Expected environment to match pattern'],
    ['labels: { "a b": 1 }', 'Expected labels to match pattern'],
    ['name: a\n  b: c', 'Expected YAML, got: Nested mappings are not allowed in compact mappings at line 1, column 7'],
    ['- a', 'Expected the file to be object, got a list of 1.'],
  ])('%j is refused', async (text, message) => {
    const { exitCode, stderr } = await build([], { 'build.yaml': text });
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`BUILD_FILE_INVALID: build.yaml: ${message}`);
  });

  test.each([
    ['checkpoints: [a/b, c/b]', 'got two that are called b. Give names: NAME=CHECKPOINT.'],
    [
      'checkpoints: [a/b]\nenvironment: { BLIP_CHECKPOINT: c }',
      'Expected checkpoints, or BLIP_CHECKPOINT in the environment, got both.',
    ],
    [
      'include: [../secrets]',
      'Expected include to have relative paths below the folder of the file, got "../secrets".',
    ],
    ['checkpoints: [{ name: "a b", checkpoint: c/d }]', "Expected a checkpoint's name of letters, digits"],
  ])('%j contradicts itself', async (text, message) => {
    const { exitCode, stderr } = await build([], { 'build.yaml': text });
    expect(exitCode).toBe(1);
    expect(stderr).toContain('BUILD_FILE_INVALID: ');
    expect(stderr).toContain(message);
  });
});

describe('--folder', () => {
  test('writes a service that runs, with the checkpoints and files of build.yaml, readable by all', async () => {
    const folder = temporaryFolder({
      'build.yaml': 'checkpoints: [{ name: small, checkpoint: small }]\ninclude: [a]\n',
    });
    mkdirSync(join(folder, 'a'));
    writeFileSync(join(folder, 'a', 'authority.pem'), 'PEM', { mode: 0o600 });
    symlinkSync(checkpoint, join(folder, 'small'));
    const written = await runProgram(bundle, 'main.js', { args: ['build', '--folder', 'service'], cwd: folder });
    expect(written).toMatchObject({ exitCode: 0, stdout: 'service\n' });
    const service = join(folder, 'service');
    expect(readdirSync(service).sort()).toEqual([
      'LICENSE',
      'dist',
      'include',
      'models',
      'node_modules',
      'package.json',
    ]);
    const paths = readdirSync(service, { recursive: true, encoding: 'utf8' });
    const stats = paths.map((path) => ({ path, mode: statSync(join(service, path)).mode & 0o444 }));
    expect(stats.filter(({ mode }) => mode !== 0o444)).toEqual([]);
    const binaries = paths.filter((path) => /onnxruntime-node\/bin\/napi-v\d+\/\w+\/\w+$/.test(path));
    expect(binaries).toEqual([`node_modules/onnxruntime-node/bin/napi-v6/linux/${process.arch}`]);
    expect(paths.filter((path) => /\.map$|\.d\.ts$/.test(path))).toEqual([]);
    const variables = { BLIP_CHECKPOINT: join(service, 'models', 'small') };
    const server = await startServerProcess({ folder: service }, variables, 'ready', ['main.js', 'serve']);
    server.kill('SIGTERM');
    expect(await server.exit).toMatchObject({ exitCode: 0 });
  });

  test('takes a model of the Hub, from the cache the second time', async () => {
    const hub = await startHub();
    const variables = Object.fromEntries(
      Object.entries(hubEnvironment(hub)).map(([name, value]) => [name, value ?? '']),
    );
    const cwd = temporaryFolder();
    const write = (folder: string) =>
      runProgram(bundle, 'main.js', { args: ['build', '--model-name', MODEL, '--folder', folder], cwd, variables });
    expect(await write('one')).toMatchObject({ exitCode: 0 });
    const asked = hub.requests.length;
    expect(asked).toBeGreaterThan(0);
    expect(await write('two')).toMatchObject({ exitCode: 0 });
    expect(hub.requests.length).toBe(asked);
    const models = join(cwd, 'two', 'models', 'Some-Model');
    expect(readdirSync(models).sort()).toEqual(readdirSync(checkpoint).sort());
    expect(statSync(join(models, 'model.safetensors')).isFile()).toBe(true);
  });

  test('says that labels and the environment have no place in it', async () => {
    const text = 'labels: { a: b }\nenvironment: { BLIP_WORKERS: 2 }\n';
    const { exitCode, stderr } = await build(['--folder', 'service'], { 'build.yaml': text });
    expect(exitCode).toBe(0);
    expect(stderr).toBe('Warning: environment and labels are for images, and not in the folder.\n');
  });

  test('does not write into a folder that exists', async () => {
    const { stderr } = await build(['--folder', '.']);
    expect(stderr).toContain('INVALID_REQUEST: Expected a FOLDER that does not exist yet, got ".".');
  });
});
