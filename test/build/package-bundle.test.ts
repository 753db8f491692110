import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { builtBundle } from '../support/built-bundle.ts';
import { buildBundle, copyDist, programEnvironment, type TemporaryBundle } from '../support/bundle.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** The package that npm packs, as a program of others has it; and the scripts of npm beside a bundle. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const compiler = join(root, 'node_modules/typescript/bin/tsc');
const nativePackages = ['onnxruntime-node', 'onnxruntime-common', 'sharp', '@img', 'detect-libc', 'semver'];

/** The paths of all files below a folder. */
function filesBelow(folder: string): readonly string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

describe('the licences in dist/', () => {
  const dist = join(builtBundle().folder, 'dist');
  const text = readFileSync(join(dist, 'THIRD-PARTY.txt'), 'utf8');

  /** Packages of which the source maps name a file. Some of these files are types, which leave nothing. */
  function packagesInSourceMaps(): readonly string[] {
    const maps = filesBelow(dist).filter((path) => path.endsWith('.js.map'));
    const sources = maps.flatMap((path) => {
      const { sources: paths }: { readonly sources: readonly string[] } = JSON.parse(readFileSync(path, 'utf8'));
      return paths;
    });
    const names = sources.flatMap((path) => /.*node_modules\/(@[^/]+\/[^/.][^/]*|[^@/.][^/]*)\//.exec(path)?.[1] ?? []);
    return [...new Set(names)];
  }

  test('name every package that is bundled, with its version', () => {
    const packages = packagesInSourceMaps();
    expect(packages.length).toBeGreaterThan(50);
    const lacking = packages.filter(
      (name) => !new RegExp(`^${name.replaceAll('.', '\\.')} \\d+\\.\\d+\\.\\d+ \\(`, 'm').test(text),
    );
    expect(lacking).toEqual([]);
  });

  test('have their texts, and those of drawings, protocols and the page of the API', () => {
    expect(text.match(/Permission is hereby granted/g)?.length).toBeGreaterThan(20);
    expect(text).toContain('TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION');
    for (const name of ['swagger-ui-dist', 'Noto Emoji', 'Fluent Emoji', 'Twemoji', 'EmojiTwo', "Jina's protocol"])
      expect(text).toContain(name);
  });
});

const checks = `
import Handler, { CheckpointError, HandlerError, type Inputs, type Outputs, type Settings } from 'blip-handler';
import { createHandler } from 'blip-handler/aws-lambda';

const chosen: Partial<Settings> = { checkpoint: 'a/b', workerCount: 2 };
export const handler = new Handler(chosen);
const inputs: Inputs = { img_url: Buffer.from(''), text: 'a picture of' };
export const outputs: Promise<Outputs> = handler.infer(inputs);
export const codeOf = (error: unknown) => (error instanceof HandlerError || error instanceof CheckpointError ? error.code : '');
export const code: boolean = codeOf(0) === 'IMAGE_CORRUPT';
export const lambda = createHandler({ basePath: '/captions' });
// @ts-expect-error There is no such setting.
new Handler({ checkpiont: 'a/b' });
// @ts-expect-error There is no such input.
handler.infer({ image: 'cat.jpg' });
// @ts-expect-error There is no such code.
codeOf(0) === 'IMAGE_BROKEN';
`;

const requiring = `
import blip = require('blip-handler');

export const handler = new blip.Handler({ checkpoint: 'a/b' });
export const outputs: Promise<blip.Outputs> = handler.infer({ img_url: 'https://example.com/cat.jpg' });
// @ts-expect-error There is no such setting.
new blip.Handler({ checkpiont: 'a/b' });
`;

/** A program that captions one picture with the checkpoint that ships, and says how it fails with a wrong setting. */
const program = (importing: string) => `
${importing}
const wrong = () => {
  try { return new Handler({ checkpiont: 'a/b' }); } catch (error) { return [error instanceof HandlerError, error.code]; }
};
(async () => {
  const handler = new Handler({ workerCount: 1 });
  await handler.initialize();
  const { generated_output: caption } = await handler.infer({ img_url: readFileSync(process.argv[2]) });
  await handler.finalize();
  console.log(JSON.stringify({ caption, wrong: wrong() }));
})();
`;

describe('the package', () => {
  let consumer: string;
  let packed: readonly string[];

  /** Packs the package, and unpacks it beside its dependencies, as npm installs it. */
  beforeAll(() => {
    const { folder, remove } = buildBundle(); // Packing bundles anew, which would disturb the tests that share a bundle.
    rmSync(join(folder, 'dist'), { recursive: true });
    execFileSync('npm', ['pack', '--ignore-scripts=false', '--silent'], { cwd: folder, stdio: 'pipe' });
    consumer = mkdtempSync(join(tmpdir(), 'blip-handler-consumer-'));
    const packages = join(consumer, 'node_modules');
    mkdirSync(packages);
    const [archive = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
    execFileSync('tar', ['xzf', join(folder, archive), '-C', packages]);
    remove();
    execFileSync('mv', [join(packages, 'package'), join(packages, 'blip-handler')]);
    packed = filesBelow(join(packages, 'blip-handler')).map((path) =>
      path.slice(join(packages, 'blip-handler/').length),
    );
    const { dependencies } = JSON.parse(readFileSync(join(packages, 'blip-handler/package.json'), 'utf8'));
    for (const name of [...Object.keys(dependencies), '@types/node']) {
      mkdirSync(dirname(join(packages, name)), { recursive: true });
      symlinkSync(join(root, 'node_modules', name), join(packages, name));
    }
  }, 180_000);

  afterAll(() => rmSync(consumer, { recursive: true, force: true }));

  /** Puts files into the consumer's folder, and runs a program there. */
  function run(files: Readonly<Record<string, string>>, args: readonly string[]) {
    cpSync(temporaryFolder(files), consumer, { recursive: true });
    return spawnSync(process.execPath, args, { cwd: consumer, encoding: 'utf8', env: programEnvironment() });
  }

  test('has the programs, the library with its types, what they read, and the licences', () => {
    expect(packed).toEqual(
      expect.arrayContaining([
        'package.json',
        'dist/app.js',
        'dist/aws-lambda.js',
        'dist/main.js',
        'dist/inference-worker.js',
        'dist/image-decoder.js',
        'dist/types/app.d.ts',
        'dist/types/handlers/aws-lambda/aws-lambda.d.ts',
        'dist/checkpoints/scenes-captioning/config.json',
        'dist/THIRD-PARTY.txt',
      ]),
    );
    expect(packed.filter((path) => /__pycache__|\.pyc$|\.test\./.test(path))).toEqual([]);
  });

  const picture = join(root, 'examples/two-cats.png');
  const names = '{ Handler, HandlerError }';

  test.each([
    ['import', 'caption.mjs', `import ${names} from 'blip-handler'; import { readFileSync } from 'node:fs';`],
    [
      'require',
      'caption.cjs',
      `const ${names} = require('blip-handler'); const { readFileSync } = require('node:fs');`,
    ],
  ])('captions a picture by %s', (_, file, importing) => {
    const { stdout, stderr } = run({ [file]: program(importing) }, [file, picture]);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      caption: 'two cats on a yellow background',
      wrong: [true, 'SETTINGS_INVALID'],
    });
  });

  test('tells tools its version', () => {
    const { stdout } = run({}, ['--print', "require('blip-handler/package.json').name"]);
    expect(stdout).toBe('blip-handler\n');
  });

  test.each([
    ['an ES module', ['--module', 'nodenext'], 'checks.mts', checks],
    ['CommonJS', ['--module', 'nodenext'], 'requiring.cts', requiring],
    ['a bundler', ['--module', 'esnext', '--moduleResolution', 'bundler'], 'checks.ts', checks],
  ])('has types for %s, in declarations that are checked', (_, options, file, source) => {
    const strictest = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2023', '--types', 'node'];
    const { stdout } = run({ [file]: source }, [compiler, ...strictest, ...options, file]);
    expect(stdout).toBe('');
  });
});

describe('npm start without development packages', () => {
  /** The files of a checkout that npm start needs, beside what is there. */
  function withScripts(bundle: TemporaryBundle): TemporaryBundle {
    for (const path of ['package.json', 'build/command.js']) cpSync(join(root, path), join(bundle.folder, path));
    return bundle;
  }

  const start = (folder: string) =>
    spawn('npm', ['start'], {
      cwd: folder,
      env: programEnvironment({ PORT: '0', LOG_LEVEL: 'info' }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });

  test('says what is missing where there is no bundle', async () => {
    const folder = temporaryFolder();
    withScripts({ folder, remove: () => undefined });
    const npm = start(folder);
    let stderr = '';
    npm.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const [exitCode] = await once(npm, 'close');
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/Expected tsx, .* got neither in .*\. Run npm ci there\./);
  });

  test('runs the bundle, and passes SIGTERM on', async () => {
    const bundle = withScripts(copyDist(builtBundle(), nativePackages));
    try {
      const npm = start(bundle.folder);
      const messages: string[] = [];
      for await (const line of createInterface({ input: npm.stdout })) {
        if (!line.startsWith('{')) continue;
        const { msg } = JSON.parse(line);
        messages.push(msg);
        if (msg === 'ready') npm.kill('SIGTERM');
      }
      expect(messages.slice(-3)).toEqual(['ready', 'draining', 'stopped']);
    } finally {
      bundle.remove();
    }
  });
});
