import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { explainNativeFailure } from '../../../pipeline/native-packages.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { builtBundle } from '../../support/built-bundle.ts';
import { copyDist, runProgram } from '../../support/bundle.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** A program beside packages with native code that are installed by half, or for another system. */

const root = fileURLToPath(new URL('../../..', import.meta.url));
const system = `${process.platform}-${process.arch}`;
const runtime = ['onnxruntime-node', 'onnxruntime-common'];
const decoder = ['sharp', '@img/colour', 'detect-libc', 'semver'];
const binaries = [`@img/sharp-${system}`, `@img/sharp-libvips-${system}`];

/** What `invoke` says beside these packages, without these files of theirs. */
async function failureBeside(
  packages: readonly string[],
  lacking: readonly string[] = [],
  descriptions: readonly string[] = ['package.json', 'package-lock.json'],
) {
  const { folder, remove } = copyDist(builtBundle(), packages);
  onTestFinished(remove);
  for (const path of lacking) rmSync(join(folder, 'node_modules', path), { recursive: true });
  for (const file of descriptions) cpSync(join(root, file), join(folder, file));
  const { exitCode, stdout } = await runProgram({ folder }, 'invoke.js');
  const { code, error } = JSON.parse(stdout);
  return { folder, exitCode, code, error };
}

const library = `onnxruntime-node/bin/napi-v6/${process.platform}/${process.arch}`;

describe('a half install', () => {
  test.each([
    ['nothing at all', [], [], /^Expected onnxruntime-node to be installed, got no such package\./],
    ['no sharp', runtime, [], /^Expected sharp to be installed, got no such package\./],
    [
      'no optional packages',
      [...runtime, ...decoder],
      [],
      /^Expected sharp with native code for \S+, got none in \S+\./,
    ],
    [
      'half of the optional packages',
      [...runtime, ...decoder, ...binaries],
      [`@img/sharp-libvips-${system}`],
      /^Expected sharp with native code for \S+, got none in \S+\./,
    ],
    [
      'no onnxruntime-common',
      ['onnxruntime-node', ...decoder, ...binaries],
      [],
      /^Expected onnxruntime-common to be installed, got no such package\./,
    ],
    [
      'no native code of onnxruntime-node',
      [...runtime, ...decoder, ...binaries],
      [library],
      /^Expected onnxruntime-node with native code for \S+, got none in \S+\./,
    ],
    [
      'no library of onnxruntime',
      [...runtime, ...decoder, ...binaries],
      [`${library}/libonnxruntime.so.1`],
      /to load, got: .*libonnxruntime\.so\.1: cannot open shared object file/,
    ],
  ])('with %s is explained', async (_, packages, lacking, reason) => {
    const { folder, ...failure } = await failureBeside(packages, lacking);
    expect(failure).toEqual({
      exitCode: 1,
      code: 'NATIVE_LIBRARY_UNUSABLE',
      error: expect.stringMatching(reason),
    });
    expect(failure.error).toMatch(
      new RegExp(` Remove node_modules in ${folder}, and run there, on this system: npm ci --omit=dev [a-z= -]+$`),
    );
  });

  test('of a copy of dist/ alone says what to copy', async () => {
    const { folder, error } = await failureBeside([], [], []);
    expect(error).toContain(
      ` Copy package.json and package-lock.json beside dist/. Remove node_modules in ${folder}, `,
    );
  });
});

describe('an error of a start', () => {
  const linux = { name: 'linux-x64', isMusl: false };
  const failure = new Error("Cannot find module '../bin/napi-v6/linux/x64/onnxruntime_binding.node'\nRequire stack:");

  const ofMac = {
    'package-lock.json': '{}',
    'package.json': '{}',
    'node_modules/onnxruntime-node/package.json': '{}',
    'node_modules/onnxruntime-common/package.json': '{}',
    'node_modules/onnxruntime-node/bin/napi-v6/darwin/arm64/onnxruntime_binding.node': '',
    'node_modules/onnxruntime-node/bin/napi-v6/linux/x64/onnxruntime_binding.node': '',
    'node_modules/sharp/package.json': '{}',
    'node_modules/@img/sharp-darwin-arm64/package.json': '{}',
    'node_modules/@img/sharp-libvips-darwin-arm64/package.json': '{}',
    'node_modules/blip-handler/package.json': '{}',
  };

  test('with packages of another system names that system, and the project that has them', () => {
    const folder = temporaryFolder(ofMac);
    const explained = explainNativeFailure(
      new Error('Could not load the "sharp" module using the linux-x64 runtime'),
      linux,
      join(folder, 'node_modules/blip-handler/dist/app.js'),
    );
    expect(explained).toMatchObject({
      code: 'NATIVE_LIBRARY_UNUSABLE',
      message:
        `Expected sharp with native code for linux-x64, got that for darwin-arm64 in ${folder}/node_modules/@img. ` +
        `Remove node_modules in ${folder}, and run there, on this system: npm ci --include=optional --ignore-scripts`,
    });
  });

  test.each([
    [{ name: 'linux-x64', isMusl: true }, /glibc.*musl.*Debian/],
    [{ name: 'darwin-x64', isMusl: false }, /^Expected one of the systems .*darwin-arm64.*, got darwin-x64\.$/],
  ])('on a system that has no native code says so: %j', (system, message) => {
    expect(explainNativeFailure(failure, system)).toMatchObject({ message: expect.stringMatching(message) });
  });

  test.each([
    new HandlerError('EXECUTION_PROVIDER_UNAVAILABLE', 'Expected libcudart: cannot open shared object file'),
    new Error('Expected another message from the worker thread.'),
    'Cannot find package',
  ])('of another kind stays as it is: %s', (error) => {
    expect(explainNativeFailure(error, linux)).toBe(error);
  });
});
