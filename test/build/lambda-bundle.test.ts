import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { MAX_UNPACKED_BYTES } from '../../build/lambda/archive.ts';
import { builtBundle } from '../support/built-bundle.ts';
import { programEnvironment } from '../support/bundle.ts';
import { Containers, missingPrograms } from '../support/containers.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { functionUrlEvent } from '../support/lambda-events.ts';
import { dataUri } from '../support/server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** The function of AWS Lambda as users upload it: made by `npm run lambda`, unpacked, and imported. */

const run = promisify(execFile);
const root = new URL('../..', import.meta.url);

/** Runs `npm run lambda` without the bundling, which all tests share. */
function lambda(...args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  return lambdaIn(process.env, ...args);
}

function lambdaIn(env: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  // The sources are links in that folder, which has the bundle that they look for.
  const program = ['--preserve-symlinks', '--import', 'tsx', join(builtBundle().folder, 'build/lambda/package.ts')];
  return run(process.execPath, [...program, ...args], { cwd: root, env });
}

async function unpack(file: string, folder: string): Promise<void> {
  mkdirSync(folder);
  const program = 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])';
  await run('python3', ['-c', program, file, folder]);
}

/** Imports the function in its folder, as Lambda's runtime does, and sends it one event. */
async function invoke(folder: string, event: object, variables: Readonly<Record<string, string>>): Promise<unknown> {
  const { Handler } = templateFunction('template.yaml');
  const [module, name] = String(Handler).split('.');
  const program = `
    const { ${name}: handler } = await import(process.cwd() + '/${module}.js');
    const answer = await handler(JSON.parse(process.env.EVENT), { getRemainingTimeInMillis: () => 20_000 });
    process.stderr.write(JSON.stringify(answer));
    process.exit();`;
  const { stderr } = await run(process.execPath, ['--input-type=module', '-e', program], {
    cwd: folder,
    env: programEnvironment({ EVENT: JSON.stringify(event), ...variables }),
  });
  return JSON.parse(stderr);
}

/** The properties of the function in a template. Its short functions (`!Ref`) are read as what follows them. */
function templateFunction(name: string): Readonly<Record<string, unknown>> {
  const text = readFileSync(new URL(`deploy/lambda/${name}`, root), 'utf8').replaceAll(/!\w+ ?/g, '');
  return parse(text).Resources.Function.Properties;
}

describe('npm run lambda', () => {
  test('makes an archive that answers, with a checkpoint and the template’s settings', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'function.zip');
    const made = await lambda('--out', file, '--checkpoint', checkpointFolder('narrow-vision'));
    expect(made.stdout).toBe(`${file}\n`);
    expect(made.stderr).toContain('BLIP_CHECKPOINT=models/model');
    await unpack(file, join(folder, 'task'));
    const { Environment } = templateFunction('template.yaml');
    const { Variables } = Environment as { Variables: Record<string, string> }; // The template's own form.
    const event = functionUrlEvent({ path: '/v2/models/captioning/generate', body: { img_url: dataUri('small') } });
    const settings = { ...Variables, BLIP_CHECKPOINT: 'models/model' };
    expect(await invoke(join(folder, 'task'), event, settings)).toMatchObject({ statusCode: 200 });
    // The template's parameter for another checkpoint is empty by default, and that means the one that ships.
    const own = await invoke(
      join(folder, 'task'),
      { img_url: dataUri('small') },
      { ...Variables, BLIP_CHECKPOINT: '' },
    );
    expect(own).toMatchObject({ model_name: 'captioning' });
  });

  test('has natives of one machine alone, below the limit; two archives of equal files are equal', async () => {
    const folder = temporaryFolder();
    const files = ['first.zip', 'second.zip'].map((name) => join(folder, name));
    const [made] = await Promise.all(files.map((file) => lambda('--out', file)));
    const [first, second] = files.map((file) => readFileSync(file));
    expect(first?.equals(second ?? Buffer.of())).toBe(true);
    await unpack(files[0] ?? '', join(folder, 'task'));
    const { stdout } = await run('find', ['.', '-name', '*.node', '-o', '-name', '*.so*'], {
      cwd: join(folder, 'task'),
    });
    const natives = stdout.trim().split('\n');
    expect(natives.length).toBeGreaterThanOrEqual(4);
    const isOwn = (path: string) => path.includes(`linux/${process.arch}`) || path.includes(`linux-${process.arch}`);
    expect(natives.filter((path) => !isOwn(path))).toEqual([]);
    const [, unpacked = ''] = /unpacked ([\d.]+) MB/.exec(made?.stderr ?? '') ?? [];
    expect(Number(unpacked)).toBeGreaterThan(50);
    expect(Number(unpacked) * 1e6).toBeLessThan(MAX_UNPACKED_BYTES / 2);
    expect(statSync(files[0] ?? '').mode & 0o044).toBe(0o044);
  });

  test.each([
    [['--base', 'x'], '--base has no effect without --image'],
    [['--image', 'x', '--out', 'y'], '--out has no effect beside --image'],
    [['--archtecture', 'x64'], 'did you mean --architecture?'],
    [['--checkpoint', '/nowhere'], 'CHECKPOINT_NOT_FOUND: '],
    [
      ['--out', '/nowhere/function.zip'],
      'INVALID_REQUEST: /nowhere/function.zip: expected a place that can be written',
    ],
    [['--image', 'x', '--builder', 'kaniko'], 'Expected --builder to be docker or podman or buildah, got "kaniko".'],
  ])('refuses %j', async (args, reason) => {
    const failed = await lambda(...args).catch((error: { stderr: string }) => error);
    expect(failed.stderr).toContain(reason);
  });
});

test('npm run lambda -- --image looks for a builder before it fetches a checkpoint', async () => {
  const args = ['--image', 'x', '--checkpoint', 'nobody/nothing'];
  const failed = await lambdaIn({ ...process.env, PATH: temporaryFolder() }, ...args).catch((error) => error);
  expect(failed.stderr).toMatch(/^BUILD_FAILED: .*docker with buildx, podman, buildah/);
});

const hasContainers = missingPrograms.length === 0 || process.env['CI'] === 'true';
const imagesTitle = hasContainers
  ? 'npm run lambda -- --image'
  : `npm run lambda -- --image (skipped: ${missingPrograms.join(', ')} are not installed)`;

describe.skipIf(!hasContainers)(imagesTitle, () => {
  const containers = hasContainers ? new Containers() : undefined;
  afterAll(async () => await containers?.remove());

  test('makes an image whose function answers without network, rights or a root that can be written', async () => {
    if (containers === undefined) throw new Error('The test is skipped.');
    const [base, node, tag] = ['localhost/base:latest', 'localhost/node:latest', 'localhost/function:1'];
    await containers.makeBases(base, node);
    const args = [
      '--image',
      tag,
      '--base',
      node,
      '--builder',
      'buildah',
      '--checkpoint',
      checkpointFolder('narrow-vision'),
    ];
    const made = await lambdaIn(containers.environment, ...args);
    expect(made.stdout).toBe(`${tag}\n`);
    const [description] = JSON.parse(
      await containers.read('podman', 'image', 'inspect', '--format', '{{json .}}', tag),
    );
    expect(description).toMatchObject({
      Config: {
        Cmd: ['dist/aws-lambda.handler'],
        Env: expect.arrayContaining(['BLIP_CHECKPOINT=/var/task/models/model']),
      },
    });
    const program = `
      const { handler } = await import('/var/task/dist/aws-lambda.js');
      const answer = await handler(JSON.parse(process.argv[1]), { getRemainingTimeInMillis: () => 20_000 });
      console.log(JSON.stringify(answer));
      process.exit();`;
    const event = JSON.stringify({ img_url: dataUri('small') });
    const entry = [
      '--entrypoint=/usr/local/bin/node',
      '--env=LOG_LEVEL=silent',
      '--workdir=/var/task',
      '--user=993:990',
    ];
    const rights = ['--network=none', '--read-only', '--cap-drop=all'];
    const output = await containers.read(
      'podman',
      'run',
      '--rm',
      ...rights,
      ...entry,
      tag,
      '--input-type=module',
      '-e',
      program,
      event,
    );
    expect(JSON.parse(output)).toMatchObject({ model_name: 'captioning', outputs: [{ name: 'generated_output' }] });
  });
});
