import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { builtBundle } from '../support/built-bundle.ts';
import { Containers, missingPrograms, outputHas } from '../support/containers.ts';
import { checkpointFolder } from '../support/goldens.ts';

/**
 * Images as users build them: built by buildah from a base that mmdebstrap makes, run by podman and runc without network,
 * without rights and with a root that cannot be written, and pushed to a registry on loopback.
 */

const isWanted = missingPrograms.length === 0 || process.env['CI'] === 'true';
const title = isWanted ? 'images' : `images (skipped: ${missingPrograms.join(', ')} are not installed)`;

const root = fileURLToPath(new URL('../..', import.meta.url));
const BASE = 'localhost/base:latest';
const NODE = 'localhost/node:latest';
/** Unpacked, without checkpoints: one ships, and the test adds it a second time. */
const MAX_IMAGE_BYTES = 200e6;
const awkwardText = `a "quoted" $PATH \\ text's end`;

const buildFile = `
name: localhost/captions
tag: 1.0
base: ${BASE}
node: ${NODE}
checkpoints:
  - name: shipped
    checkpoint: shipped
  - name: small
    checkpoint: small
include: [note.txt]
environment: { BLIP_WORKERS: 1, LOG_LEVEL: info, TEXT: ${JSON.stringify(awkwardText)} }
labels: { com.example.text: ${JSON.stringify(awkwardText)} }
`;

/** A program that asks the server in its container, which has no network, and prints the body of the answer. */
function asking(path: string, body?: string): string {
  const headers = `{ authorization: 'Bearer t', 'content-type': 'application/json' }`;
  const options = body === undefined ? '{}' : `{ method: 'POST', headers: ${headers}, body: ${body} }`;
  return `
    const image = require('node:fs').readFileSync('/app/dist/examples/two-cats.png').toString('base64');
    fetch('http://127.0.0.1:8080${path}', ${options}).then(async (answer) => {
      console.log(await answer.text());
      process.exitCode = answer.status === 200 ? 0 : 1;
    });`;
}

const caption = (count: number) =>
  `JSON.stringify({ inputs: [{ name: 'img_url', shape: [${count}], datatype: 'BYTES', data: Array(${count}).fill(image) }] })`;

interface ImageDescription {
  readonly Id: string;
  readonly Size: number;
  readonly Labels: Readonly<Record<string, string>>;
  readonly Config: {
    readonly User: string;
    readonly StopSignal: string;
    readonly Env: readonly string[];
    readonly Entrypoint: readonly string[];
    readonly Cmd: readonly string[];
    readonly ExposedPorts: object;
  };
}

describe.skipIf(!isWanted)(title, () => {
  const containers = isWanted ? new Containers() : undefined;
  const { folder = '' } = containers ?? {};
  const run = (program: string, ...args: readonly string[]) =>
    containers?.read(program, ...args) ?? Promise.reject(new Error('The tests are skipped.'));
  const build = (...args: readonly string[]) =>
    run(process.execPath, join(builtBundle().folder, 'dist', 'main.js'), 'build', '--builder', 'buildah', ...args);
  const describeImage = async (tag: string): Promise<ImageDescription> =>
    JSON.parse(await run('podman', 'image', 'inspect', tag))[0];
  const bytesIn = (name: string): number => {
    const files = readdirSync(join(folder, name), { withFileTypes: true }).filter((entry) => entry.isFile());
    return files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
  };
  const tag = 'localhost/captions:1.0';
  let registry = '';
  let pushed = '';

  beforeAll(async () => {
    writeFileSync(join(folder, 'build.yaml'), buildFile);
    writeFileSync(join(folder, 'note.txt'), 'A note.', { mode: 0o600 });
    for (const [name, source] of [
      ['shipped', join(builtBundle().folder, 'dist', 'checkpoints', 'scenes-captioning')],
      ['small', checkpointFolder('narrow-vision')],
    ] as const)
      await run('cp', '-rL', source, join(folder, name));
    await containers?.makeBases(BASE, NODE);
    registry = (await containers?.startRegistry()) ?? '';
    pushed = `${registry}/captions:1`;
    expect(await build()).toBe(tag);
    expect(await run('buildah', 'containers', '--quiet')).toBe('');
  }, 120_000);
  afterAll(async () => await containers?.remove());

  test('name their user, signal, port, variables and labels', async () => {
    const { Config, Labels } = await describeImage(tag);
    expect(Config).toMatchObject({
      User: '65532:65532',
      StopSignal: 'SIGTERM',
      Entrypoint: ['/usr/local/bin/node', '/app/dist/main.js'],
      Cmd: ['serve'],
      ExposedPorts: { '8080/tcp': {} },
    });
    expect(Config.Env).toEqual(
      expect.arrayContaining([
        'HOST=0.0.0.0',
        'BLIP_MODELS=shipped=/app/models/shipped,small=/app/models/small',
        'BLIP_WORKERS=1',
        `TEXT=${awkwardText}`,
      ]),
    );
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(Labels).toMatchObject({
      'org.opencontainers.image.title': 'blip-handler',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.licenses': 'MIT',
      'org.opencontainers.image.base.name': BASE,
      'com.example.text': awkwardText,
    });
  });

  test('answer without network, rights or a root that can be written, and drain at SIGTERM', async () => {
    const rights = ['--read-only', '--read-only-tmpfs=false', '--cap-drop=all', '--security-opt=no-new-privileges'];
    const id = await run('podman', 'run', '--detach', '--network=none', ...rights, '--env=BLIP_API_TOKENS=t', tag);
    const logs = () => run('podman', 'logs', id);
    const inside = (script: string) => run('podman', 'exec', id, '/usr/local/bin/node', '-e', script);
    await outputHas(logs, /"msg":"ready"/);
    await inside(asking('/v2/health/ready'));
    expect(await inside(asking('/generate', `JSON.stringify({ img: image })`))).toBe('two cats on a yellow background');
    expect(await inside(asking('/v2/models/small/infer', caption(1)))).toContain('"model_name":"small"');
    expect(await inside(`console.log(require('node:fs').readFileSync('/app/include/note.txt', 'utf8'))`)).toBe(
      'A note.',
    );
    const late = inside(asking('/v2/models/shipped/infer', caption(16)));
    await outputHas(logs, /"url":"\/v2\/models\/shipped\/infer"/);
    await run('podman', 'kill', '--signal=TERM', id);
    expect(JSON.parse(await late).outputs[0].shape).toEqual([16]);
    const ended = await containers?.ended(id);
    expect(ended).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/"msg":"draining".*"msg":"stopped"/s) });
  });

  test('say what a server without tokens needs', async () => {
    const ended = await containers?.runToEnd('--read-only', tag);
    expect(ended).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('BLIP_API_TOKENS') });
  });

  test('have every command, and a cache of the Hub that the user may write', async () => {
    expect((await containers?.runToEnd(tag, 'list-models'))?.stdout).toContain('Salesforce/');
    const write = `require('node:fs').writeFileSync(process.env.HF_HOME + '/file', '')`;
    expect(await containers?.runToEnd('--entrypoint=/usr/local/bin/node', tag, '-e', write)).toMatchObject({
      exitCode: 0,
    });
  });

  test('are equal when they are built again without a cache, pushed and read back; small without checkpoints', async () => {
    await build('--tag', pushed, '--push', '--', '--no-cache');
    const [first, second] = [await describeImage(tag), await describeImage(pushed)];
    expect(second.Id).toBe(first.Id);
    const remote = JSON.parse(await run('skopeo', 'inspect', '--tls-verify=false', '--config', `docker://${pushed}`));
    expect(remote).toMatchObject({ architecture: 'amd64', os: 'linux', config: { User: '65532:65532' } });
    expect(first.Size - 2 * bytesIn('shipped') - bytesIn('small')).toBeLessThan(MAX_IMAGE_BYTES);
  });

  test('of a checkpoint alone have it in /models, as KServe mounts it', async () => {
    const model = `${registry}/small:1`;
    expect(await build('--model-only', 'small', '--tag', model, '--push')).toBe(model);
    const layout = join(folder, 'layout');
    await run('skopeo', 'copy', '--src-tls-verify=false', `docker://${model}`, `dir:${layout}`);
    const { layers } = JSON.parse(readFileSync(join(layout, 'manifest.json'), 'utf8'));
    expect(layers).toHaveLength(1);
    const files = await run('tar', '-tzf', join(layout, layers[0].digest.replace('sha256:', '')));
    expect(files.split('\n')).toEqual(expect.arrayContaining(['models/config.json', 'models/model.safetensors']));
  });

  test('are built from a clone too, with the packages that are installed there', async () => {
    const target = ['--target', 'service', '--build-arg', `NODE=${NODE}`, '--build-arg', `BASE=${BASE}`];
    const packages = ['--volume', `${join(root, 'node_modules')}:/source/node_modules:ro`];
    await run('buildah', 'build', ...target, ...packages, '--tag', 'clone', root);
    const container = await run('buildah', 'from', 'clone');
    await run('buildah', 'run', container, '--', 'node', 'service/dist/main.js', 'list-models');
  });
});
