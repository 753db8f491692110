import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { bundledPackages, shippedWorks, thirdPartyText } from '../../build/third-party.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** The licences of what the bundle has of others. */

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Packages in a folder, and the part of esbuild's report that names their files. */
function bundleOf(files: Readonly<Record<string, string>>, bytesInOutput: (path: string) => number = () => 7) {
  const folder = temporaryFolder(files);
  const inputs = Object.fromEntries(
    Object.keys(files)
      .filter((path) => path.endsWith('.js'))
      .map((path) => [join(folder, path), { bytesInOutput: bytesInOutput(path) }]),
  );
  const output = { bytes: 7, inputs, imports: [], exports: [] };
  return { folder, metafile: { outputs: { 'dist/app.js': output } } };
}

const description = (name: string) => JSON.stringify({ name, version: '1.2.3', license: 'MIT' });

test('each bundled package has its version and all texts that it ships, once', () => {
  const { folder, metafile } = bundleOf({
    'node_modules/two/package.json': description('two'),
    'node_modules/two/license.md': 'Text of two.',
    'node_modules/two/index.js': '',
    'node_modules/@scope/one/package.json': description('@scope/one'),
    'node_modules/@scope/one/LICENSE': 'Text of one.',
    'node_modules/@scope/one/NOTICE.txt': 'Notice of one.',
    'node_modules/@scope/one/LICENSES.js': '',
    'node_modules/@scope/one/lib/index.js': '',
    'node_modules/two/node_modules/inner/package.json': description('inner'),
    'node_modules/two/node_modules/inner/COPYING': 'Text of inner.',
    'node_modules/two/node_modules/inner/index.js': '',
    'own/code.js': '',
  });
  expect(bundledPackages(metafile, folder)).toEqual([
    { name: '@scope/one', version: '1.2.3', licence: 'MIT', texts: ['Text of one.', 'Notice of one.'] },
    { name: 'inner', version: '1.2.3', licence: 'MIT', texts: ['Text of inner.'] },
    { name: 'two', version: '1.2.3', licence: 'MIT', texts: ['Text of two.'] },
  ]);
});

test('a package without a licence text ends the build, unless a text was added for it, or nothing of it is left', () => {
  const files = {
    'node_modules/@scope/bare/package.json': description('@scope/bare'),
    'node_modules/@scope/bare/index.js': '',
    'node_modules/unused/package.json': description('unused'),
    'node_modules/unused/index.js': '',
  };
  const isUsed = (path: string) => (path.includes('unused') ? 0 : 7);
  const bare = bundleOf(files, isUsed);
  expect(() => bundledPackages(bare.metafile, bare.folder)).toThrow(/licence text of @scope\/bare, got none/);
  const completed = bundleOf({ ...files, 'scope-bare.txt': 'Added text.' }, isUsed);
  expect(bundledPackages(completed.metafile, completed.folder)).toMatchObject([
    { name: '@scope/bare', texts: ['Added text.'] },
  ]);
});

test('works that share a text share a section, which has all of their names', () => {
  const text = thirdPartyText([
    { name: 'one', version: '1.0.0', licence: 'MIT', texts: ['Shared.\r\nText.\n'] },
    { name: 'other', version: '2.0.0', licence: 'ISC', texts: ['Another text.'] },
    { name: 'two', licence: 'MIT', texts: ['Shared.\nText.'] },
  ]);
  expect(text).toContain('one 1.0.0 (MIT)\ntwo (MIT)\n\nShared.\nText.\n');
  expect(text).toContain('other 2.0.0 (ISC)\n\nAnother text.\n');
  expect(text.match(/Shared/g)).toHaveLength(1);
});

test('works that are no packages are those that the README names', () => {
  const named = shippedWorks(root).map(({ name }) => name.split(/[ ,]/).slice(0, 2).join(' '));
  expect(named).toEqual(expect.arrayContaining(['Noto Emoji', 'Fluent Emoji', 'EmojiTwo (Emoji']));
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  for (const set of ['Noto Emoji', 'Fluent Emoji', 'Twemoji', 'EmojiTwo', 'Jina']) {
    expect(readme).toContain(set);
    expect(shippedWorks(root).some(({ name, texts }) => name.includes(set) && texts.every((text) => text !== ''))).toBe(
      true,
    );
  }
});
