import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { readWhole, withRegularFile } from '../../../checkpoint/files/regular-file.ts';
import { maxFileBytes, settingsFiles } from '../../../checkpoint/files/settings-files.ts';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** The largest file that a folder can hold without taking space: 3 GB of nothing. */
const ENORMOUS_BYTES = 3_000_000_000;

function open(folder: string): void {
  openCheckpoint(folder);
  openTokenizer(folder);
  openWeights(folder);
}

/** A whole checkpoint whose tokenizer has no tokenizer.json, and in which one file is left out. */
function folderWithout(name: string): string {
  const folder = temporaryFolder({ 'special_tokens_map.json': '{}', 'added_tokens.json': '{}' });
  const source = checkpointFolder('untied-bfloat16');
  for (const file of readdirSync(source)) cpSync(join(source, file), join(folder, file));
  if (name === 'processor_config.json') rmSync(join(folder, 'preprocessor_config.json'));
  if (['vocab.json', 'merges.txt'].includes(name)) {
    rmSync(join(folder, 'tokenizer_config.json'));
    writeFileSync(join(folder, 'vocab.json'), '{"<|startoftext|>":0,"<|endoftext|>":1}');
    writeFileSync(join(folder, 'merges.txt'), '#version: 0.2\n');
  }
  if (['spiece.model', 'tokenizer.model'].includes(name)) {
    rmSync(join(folder, 'tokenizer_config.json'));
    rmSync(join(folder, 'vocab.txt'));
  }
  rmSync(join(folder, name), { force: true });
  return folder;
}

const weights = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

describe.each([...settingsFiles, ...weights])('%s', (name) => {
  const folderOf = () => {
    const folder = folderWithout(name);
    if (weights.includes(name)) rmSync(join(folder, 'model.safetensors'), { force: true });
    return folder;
  };

  test.skipIf(process.platform === 'win32').each([
    ['a named pipe', (path: string) => execFileSync('mkfifo', [path])],
    ['a device', (path: string) => symlinkSync('/dev/zero', path)],
    ['a folder', (path: string) => mkdirSync(path)],
  ])('that is %s is refused', (what, make) => {
    const folder = folderOf();
    make(join(folder, name));
    expectCheckpointError(() => open(folder), 'CHECKPOINT_FILE_UNREADABLE', [name, 'a regular file', what]);
  });

  test('that is a symlink to nothing is refused, and nothing takes its place', () => {
    const folder = folderOf();
    symlinkSync('../../blobs/d66386', join(folder, name));
    expectCheckpointError(() => open(folder), 'CHECKPOINT_FILE_UNREADABLE', [
      join(folder, name),
      'a symlink to',
      'cp -rL',
    ]);
  });

  test.skipIf(weights.includes(name))('that is enormous is refused before it is read', () => {
    const folder = folderOf();
    writeFileSync(join(folder, name), '');
    truncateSync(join(folder, name), ENORMOUS_BYTES);
    const parts = [name, `at most ${maxFileBytes(name)} bytes`, `got ${ENORMOUS_BYTES} bytes`];
    expectCheckpointError(() => open(folder), 'CHECKPOINT_FILE_UNREADABLE', parts);
  });
});

test('a socket is refused', async () => {
  const path = join(temporaryFolder(), 'config.json');
  const server = createServer().listen(path);
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const read = () => withRegularFile(path, () => undefined);
  expectCheckpointError(read, 'CHECKPOINT_FILE_UNREADABLE', ['a socket']);
});

test('symlinks to files work, as in the cache of the Hub', () => {
  const folder = temporaryFolder();
  const source = checkpointFolder('untied-bfloat16');
  for (const file of readdirSync(source)) symlinkSync(join(source, file), join(folder, file));
  expect(() => open(folder)).not.toThrow();
});

test('a symlink to a named pipe is refused, and one to itself', () => {
  const folder = temporaryFolder();
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  symlinkSync(join(folder, 'pipe'), join(folder, 'config.json'));
  expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_FILE_UNREADABLE', ['a named pipe']);
  const circle = temporaryFolder();
  symlinkSync(join(circle, 'config.json'), join(circle, 'config.json'));
  expectCheckpointError(() => openCheckpoint(circle), 'CHECKPOINT_FILE_UNREADABLE', ['ELOOP']);
});

test.skipIf(process.platform !== 'linux')('a file that has more bytes than it says is read within its bound', () => {
  const path = '/proc/self/status'; // Says that it has 0 bytes.
  const whole = withRegularFile(path, (file) => readWhole(file, 1 << 16)).toString();
  expect(whole).toMatch(/^Name:.*\n$/s);
  const read = () => withRegularFile(path, (file) => readWhole(file, 100));
  expectCheckpointError(read, 'CHECKPOINT_FILE_UNREADABLE', ['at most 100 bytes, got more']);
});

test('int8 checkpoints are not made from named pipes either', async () => {
  const folder = folderWithout('merges.txt');
  execFileSync('mkfifo', [join(folder, 'merges.txt')]);
  const made = quantizeCheckpoint(folder, join(temporaryFolder(), basename(folder)));
  await expect(made).rejects.toMatchObject({ code: 'CHECKPOINT_FILE_UNREADABLE' });
});
