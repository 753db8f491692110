import { cpSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { readJsonFile } from '../../../checkpoint/files/json-file.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { checkpointFolder, fixtures } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** Files that servers, git and half-finished downloads leave in the place of a checkpoint's. */
const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'d6'.repeat(32)}\nsize 989820849\n`;
const foreign: readonly (readonly [name: string, bytes: Uint8Array | string, what: string, advice: string])[] = [
  ['a Git LFS pointer', pointer, `a Git LFS pointer of ${pointer.length} bytes`, 'Run `git lfs pull` in its folder'],
  ['a page', '<!DOCTYPE html>\n<html class=""><head></head></html>', 'an HTML page', '/resolve/, not /blob/'],
  ['a page in capitals, after blank lines', '\n\n  <HTML><BODY>404</BODY></HTML>', 'an HTML page', '/resolve/'],
  ['a page after a comment', '<!-- saved -->\n<html></html>', 'an HTML page', '/resolve/'],
  [
    "S3's error",
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    "a storage server's error in XML",
    'Download it again',
  ],
  ['nothing', '', 'an empty file', 'Download it again'],
  ['gzip', gzipSync('{}'), 'gzip data', 'Unpack it'],
  ['zeros', Buffer.alloc(4096), 'zeros', 'Download it again'],
  [
    "a server's answer with its headers",
    'HTTP/1.1 404 Not Found\r\n\r\n',
    "a server's answer with its headers",
    'again',
  ],
  [
    'a tar archive',
    Buffer.from(`config.json${'\0'.repeat(246)}ustar${'\0'.repeat(300)}`),
    'a tar archive',
    'Unpack it',
  ],
  ['zstd', Buffer.from('28b52ffd00', 'hex'), 'Zstandard data', 'Unpack it'],
];
const jsonError = '{"error":"Repository not found","code":404}';

/** The files that checkpoints keep, and who reads each. */
const weights = [
  'model.safetensors',
  'pytorch_model.bin',
  'model.safetensors.index.json',
  'pytorch_model.bin.index.json',
];
const tokenizer = ['tokenizer.json', 'tokenizer_config.json', 'added_tokens.json', 'special_tokens_map.json'];
const config = ['config.json', 'preprocessor_config.json', 'processor_config.json', 'generation_config.json'];
const codes = new Map([
  ...weights.map((name) => [name, 'CHECKPOINT_WEIGHTS_INVALID'] as const),
  ...[...tokenizer, 'vocab.txt', 'vocab.json', 'merges.txt'].map(
    (name) => [name, 'CHECKPOINT_TOKENIZER_INVALID'] as const,
  ),
  ...config.map((name) => [name, 'CHECKPOINT_CONFIG_INVALID'] as const),
]);

function open(folder: string): void {
  openCheckpoint(folder);
  openTokenizer(folder);
  openWeights(folder);
}

/** A folder that lacks nothing but the other forms of what `name` holds. */
function folderWith(name: string, content: Uint8Array | string): string {
  const folder = temporaryFolder();
  const source = checkpointFolder('narrow-vision');
  const isVocabulary = ['vocab.txt', 'vocab.json', 'merges.txt'].includes(name);
  for (const file of readdirSync(source)) {
    if (weights.includes(name) && file === 'model.safetensors') continue;
    if (name === 'processor_config.json' && file.startsWith('preprocessor')) continue;
    if (isVocabulary && file.startsWith('tokenizer')) continue;
    cpSync(join(source, file), join(folder, file));
  }
  if (name === 'merges.txt') writeFileSync(join(folder, 'vocab.json'), '{"<|startoftext|>":0,"<|endoftext|>":1}');
  if (name === 'vocab.json') writeFileSync(join(folder, 'merges.txt'), '#version: 0.2\na b\n');
  writeFileSync(join(folder, name), content);
  return folder;
}

describe.each([...codes])('%s', (name, code) => {
  test.each(foreign)('that is %s is named, with what to do', (_, bytes, what, advice) => {
    const folder = folderWith(name, bytes);
    expectCheckpointError(() => open(folder), code, [join(folder, name), `got ${what}`, advice]);
  });

  const readsLines = name.endsWith('.txt');
  test
    .skipIf(readsLines)
    .each([
      '{"Code":"AccessDenied","Message":"Access Denied","RequestId":"1","HostId":"2"}',
      '{"type":"about:blank","title":"Not Found","status":404}',
      '{"message":"Forbidden","requestId":"abc"}',
      '{"success":false,"errors":[{"code":7003}]}',
      'Entry not found',
      'Access to this model is restricted.',
    ])('that is %s is refused', (text) => {
    const folder = folderWith(name, text);
    expectCheckpointError(() => open(folder), code, [join(folder, name), 'Download it again.']);
  });

  test.skipIf(readsLines)('that is the error of a server in JSON is refused', () => {
    const folder = folderWith(name, jsonError);
    const error = expectCheckpointError(() => open(folder), code, [join(folder, name), 'Download it again.']);
    expect(error.message).not.toContain('Repository');
  });

  test.runIf(name.endsWith('.json'))('that is cut off says so', () => {
    const folder = folderWith(name, '{"model_type": "blip", "text_con');
    expectCheckpointError(() => open(folder), code, [
      join(folder, name),
      'the beginning of a file',
      'Download it again.',
    ]);
  });

  test.runIf(name.endsWith('.json') || name.endsWith('.txt'))('that is text in UTF-16 is refused', () => {
    const folder = folderWith(name, Buffer.from('\ufeff{"model_type": "blip"}', 'utf16le'));
    expectCheckpointError(() => open(folder), code, [join(folder, name), 'text in UTF-16', 'Save it as UTF-8']);
  });
});

test.each([
  ['gzip', 0x8b1f],
  ['text in UTF-16', 0xfeff],
  ['JSON', 0x1227b],
  ['bzip2', 0x685a42],
])('safetensors whose length of a header looks like %s are read', (_, headerBytes) => {
  const file = readFileSync(join(checkpointFolder('narrow-vision'), 'model.safetensors'));
  const end = 8 + Number(file.readBigUInt64LE());
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(headerBytes));
  const header = Buffer.alloc(headerBytes, ' ');
  const written = file.copy(header, 0, 8, end);
  expect(written).toBe(end - 8);
  const folder = folderWith('model.safetensors', Buffer.concat([length, header, file.subarray(end)]));
  expect(() => open(folder)).not.toThrow();
});

test('weights under the name of a text are named', () => {
  const folder = folderWith('config.json', Buffer.from('PK\x03\x04 and more of a zip archive'));
  expectCheckpointError(() => open(folder), 'CHECKPOINT_CONFIG_INVALID', [
    'got a zip archive, as torch writes weights',
  ]);
});

test('numbers that Python writes are read as Python reads them', () => {
  const folder = folderWith('config.json', '');
  const config = readFileSync(join(checkpointFolder('narrow-vision'), 'config.json'), 'utf8');
  const more = String.raw`"a": NaN, "b": [Infinity, -Infinity], "c": "NaN \" Infinity", "initializer_range": NaN,`;
  writeFileSync(join(folder, 'config.json'), config.replace('{', `{${more}`));
  expect(readJsonFile(join(folder, 'config.json'))?.values).toMatchObject({
    a: 'NaN',
    b: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
    c: 'NaN " Infinity',
  });
  expect(() => open(folder)).not.toThrow();
  const broken = folderWith('config.json', '{"a": NaN, "b": Nan}');
  expectCheckpointError(() => open(broken), 'CHECKPOINT_CONFIG_INVALID', ['text that does not parse']);
});

test('JSON behind a byte order mark says so', () => {
  const folder = folderWith('config.json', '\ufeff{"model_type":"blip"}');
  expectCheckpointError(() => open(folder), 'CHECKPOINT_CONFIG_INVALID', ['a byte order mark', 'Save it as UTF-8']);
});

test('merges that are cut off say so', () => {
  const folder = folderWith('merges.txt', '#version: 0.2\na b\nc');
  expectCheckpointError(() => open(folder), 'CHECKPOINT_TOKENIZER_INVALID', [
    'merges.txt',
    'cut off. Download it again',
  ]);
});

test.each([
  ['in the second piece of a line', 'a b\nab c', ['abcd</w>'], 'merges that make tokens of vocab.json, got "abc"'],
  ['behind a line', 'a b\n', ['abc', 'abcd'], 'merges for the 5 long tokens of vocab.json, got 1'],
])('merges that are cut off %s say so', (_, merges, more, problem) => {
  const folder = folderWith('merges.txt', `#version: 0.2\n${merges}`);
  const tokens = ['a', 'b', 'c', 'd', 'd</w>', 'ab', ...more, '<|startoftext|>', '<|endoftext|>'];
  writeFileSync(join(folder, 'vocab.json'), JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id]))));
  expectCheckpointError(() => open(folder), 'CHECKPOINT_TOKENIZER_INVALID', [
    'merges.txt',
    problem,
    'cut off. Download',
  ]);
});

test.each(['Entry not found', jsonError])('a vocab.txt that is %s says so', (text) => {
  const folder = folderWith('vocab.txt', text);
  expectCheckpointError(() => open(folder), 'CHECKPOINT_TOKENIZER_INVALID', [
    'vocab.txt: expected the token [CLS], got none among 1, and that is no vocabulary. Download it again.',
  ]);
});

test('weights in the cache of the Hub have the name of their link in messages', () => {
  const folder = folderWith('model.safetensors', '');
  rmSync(join(folder, 'model.safetensors'));
  writeFileSync(join(folder, 'd66386'), pointer);
  symlinkSync('d66386', join(folder, 'model.safetensors'));
  const parts = [`${join(folder, 'model.safetensors')}: expected weights`, 'git lfs pull'];
  expectCheckpointError(() => open(folder), 'CHECKPOINT_WEIGHTS_INVALID', parts);
});

test('bytes that are no text are refused', () => {
  const folder = folderWith('vocab.txt', Buffer.from([0x61, 0x0a, 0xff, 0x0a]));
  expectCheckpointError(() => open(folder), 'CHECKPOINT_TOKENIZER_INVALID', ['vocab.txt', 'no text in UTF-8']);
});

test.each(['model.safetensors', 'pytorch_model.bin'])('a %s that ends early says so', (name) => {
  const source =
    name === 'pytorch_model.bin' ? `${fixtures}torch-archives/narrow-vision` : checkpointFolder('narrow-vision');
  const bytes = readFileSync(join(source, name));
  for (const length of [100, 100_000, bytes.length - 1]) {
    const folder = folderWith(name, bytes.subarray(0, length));
    expectCheckpointError(() => open(folder), 'CHECKPOINT_WEIGHTS_INVALID', [name, 'cut off. Download it again.']);
  }
});
