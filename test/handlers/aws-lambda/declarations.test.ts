import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** The package's declarations, beside its dependencies and no other package, as an importer compiles against them. */

const root = fileURLToPath(new URL('../../..', import.meta.url));
const compiler = join(root, 'node_modules/typescript/bin/tsc');

const functionFile = `
import Handler from 'blip-handler';
import { createHandler, streamHandler } from 'blip-handler/aws-lambda';

export const handler = createHandler({ basePath: '/captions', onResult: ({ record }) => void record.messageId });
export const caption = async (img_url: string) => (await new Handler().infer({ img_url })).generated_output;
export { streamHandler };
// @ts-expect-error A path is text.
createHandler({ basePath: 7 });
`;

test('a function that imports the package compiles, with all declarations checked', { timeout: 120_000 }, () => {
  const folder = temporaryFolder({ 'package.json': '{ "type": "module" }', 'function.ts': functionFile });
  const packages = join(folder, 'node_modules');
  const packageFolder = join(packages, 'blip-handler');
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const name of [...Object.keys(dependencies), '@types/node']) {
    mkdirSync(dirname(join(packages, name)), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), join(packages, name));
  }
  mkdirSync(packageFolder);
  copyFileSync(join(root, 'package.json'), join(packageFolder, 'package.json'));
  const project = join(root, 'build/tsconfig.declarations.json');
  execFileSync(process.execPath, [compiler, '-p', project, '--outDir', join(packageFolder, 'dist/types')]);
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--types', 'node'];
  const { status, stdout } = spawnSync(process.execPath, [compiler, ...options, 'function.ts'], {
    cwd: folder,
    encoding: 'utf8',
  });
  expect([status, stdout]).toEqual([0, '']);
});
