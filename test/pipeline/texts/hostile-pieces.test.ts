import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** Models of SentencePiece, charsmaps and vocabularies of strangers: refused soon, or quick with any text. */
const SOON_MS = 2_000;

const models = fileURLToPath(new URL('../../fixtures/tokenizers/', import.meta.url));
const model = readFileSync(join(models, 't5-spiece.model'));
const settings = JSON.stringify({ tokenizer_class: 'T5Tokenizer', extra_ids: 0 });

function folderOfModel(bytes: Uint8Array): string {
  return temporaryFolder({ 'spiece.model': bytes, 'tokenizer_config.json': settings });
}

function folderOfUnigram(charsmap: unknown, vocab: readonly unknown[] = pieces): string {
  const definition = {
    normalizer: charsmap === undefined ? null : { type: 'Precompiled', precompiled_charsmap: charsmap },
    model: { type: 'Unigram', unk_id: 2, vocab },
  };
  return temporaryFolder({ 'tokenizer.json': JSON.stringify(definition), 'tokenizer_config.json': settings });
}

const pieces = ['<pad>', '</s>', '<unk>', '▁', 'a', 'b'].map((piece, index) => [piece, -index]);

/** A trie with steps of our choice, and its replacements. */
function charsmapOf(units: Readonly<Record<number, number>>, replacements: string, trieBytes = 2048): string {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(trieBytes);
  const trie = Buffer.alloc(2048);
  for (const [index, unit] of Object.entries(units)) trie.writeUInt32LE(unit >>> 0, Number(index) * 4);
  return Buffer.concat([header, trie, Buffer.from(replacements)]).toString('base64');
}

const LETTER = 0x61;
/** The root leads by `a` to itself, for ever. */
const loop = { 0: 0, [LETTER]: LETTER };
/** `a` has a value at a place behind all replacements. */
const lostValue = { 0: 0, [LETTER]: LETTER | 0x100 | (1 << 10), [LETTER ^ 1]: 0x7fffffff };
/** `a` leads out of the trie. */
const lostStep = { 0: 0, [LETTER]: LETTER | 0xfffffc00 };
/** `a` becomes what stands first. */
const replacing = { 0: 0, [LETTER]: LETTER | 0x100 | (1 << 10), [LETTER ^ 1]: 0 };

function expectRefused(folder: string, ...parts: readonly string[]): void {
  const startMs = performance.now();
  expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', parts);
  expect(performance.now() - startMs).toBeLessThan(SOON_MS);
}

describe('a spiece.model', () => {
  test('that is whole is taken', () => {
    expect(openTokenizer(folderOfModel(model)).decode([5, 37, 36, 65, 28, 9, 33, 42, 4, 92, 1])).toBe(
      'a photo of two cats!',
    );
  });

  test.each<[title: string, bytes: Uint8Array, part: string]>([
    ['cut off within its charsmap', model.subarray(0, model.length / 2), 'cut off'],
    ['cut off within a piece', model.subarray(0, 1_000), 'cut off'],
    ['cut off between two pieces', model.subarray(0, pieceEnd(model, 40)), 'cut off'],
    ['with bytes behind it', Buffer.concat([model, Buffer.from([0xff, 0xff])]), 'cut off'],
    ['of nothing but the letter a', Buffer.alloc(4_000, 'a'), 'cut off'],
    ['with a piece longer than the file', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x0a]), 'cut off'],
    ['with a number without end', Buffer.alloc(4_000, 0xff), 'cut off'],
    ['of millions of empty pieces', Buffer.alloc(6_000_000, Buffer.from([0x0a, 0x00])), 'at most 1048576 pieces'],
    ['that is a web page', Buffer.from('<!doctype html><html></html>'), 'an HTML page'],
    ['that is a pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'), 'Git LFS pointer'],
    ['that is BPE', readFileSync(join(models, 'llama-tokenizer.model')), 'a model of Unigram'],
  ])('%s is refused', (_, bytes, part) => {
    expectRefused(folderOfModel(bytes), 'spiece.model', part);
  });

  test('of two gigabytes is refused before it is read', () => {
    const folder = folderOfModel(model);
    truncateSync(join(folder, 'spiece.model'), 2 ** 31);
    const startMs = performance.now();
    expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_FILE_UNREADABLE', ['spiece.model', '8']);
    expect(performance.now() - startMs).toBeLessThan(SOON_MS);
  });

  test.each([-1, 1.5, 1_000_000, '7'])('beside extra_ids of %s is refused', (extraIds) => {
    const folder = temporaryFolder({
      'spiece.model': model,
      'tokenizer_config.json': JSON.stringify({ tokenizer_class: 'T5Tokenizer', extra_ids: extraIds }),
    });
    expectRefused(folder, 'tokenizer_config.json', 'extra_ids');
  });
});

/** Where a piece of a model ends: all pieces come first, each with its length in a byte. */
function pieceEnd(bytes: Uint8Array, count: number): number {
  let end = 0;
  for (let index = 0; index < count; index += 1) end += 2 + (bytes[end + 1] ?? 0);
  return end;
}

describe('a charsmap', () => {
  test('does what its trie says', () => {
    expect(openTokenizer(folderOfUnigram(charsmapOf(replacing, 'b\0'))).encode('a b')).toEqual([3, 5, 3, 5, 1]);
  });

  test.each<[title: string, charsmap: unknown]>([
    ['of nothing', ''],
    ['of three bytes', Buffer.from([1, 2, 3]).toString('base64')],
    ['whose trie is longer than it', charsmapOf({}, 'b\0', 1 << 30)],
    ['whose trie is no row of units', charsmapOf({}, 'b\0', 2047)],
    ['without replacements', charsmapOf({}, '')],
    ['whose last replacement has no end', charsmapOf({}, 'b\0c')],
    ['of one character in place of which megabytes come', charsmapOf(replacing, `${'b'.repeat(1 << 20)}\0`)],
    ['that is a number', 7],
    ['that is null', null],
  ])('%s is refused', (_, charsmap) => {
    expectRefused(folderOfUnigram(charsmap), 'tokenizer.json', 'precompiled_charsmap');
  });

  test.each([
    ['a loop', loop],
    ['a value behind all replacements', lostValue],
    ['a step out of it', lostStep],
  ])('whose trie has %s leaves texts as they are', (_, units) => {
    const tokenizer = openTokenizer(folderOfUnigram(charsmapOf(units, 'b\0')));
    expect(tokenizer.encode('a b')).toEqual([3, 4, 3, 5, 1]);
    const startMs = performance.now();
    tokenizer.encode('é'.repeat(51_200));
    expect(performance.now() - startMs).toBeLessThan(SOON_MS);
  });
});

/** Texts of the length that a model of 512 tokens allows; U+FDFA becomes 18 characters. */
const longTexts = ['a', 'a ', 'b', 'é', '日', ' ', '\u0301', 'e\u0301', '\ufdfa', '🐈', '👩\u200d', '\r\n', '▁'].map(
  (part) => part.repeat(Math.ceil(51_200 / Math.max(part.length, part.normalize('NFKC').length))),
);

function expectQuick(folder: string): void {
  const tokenizer = openTokenizer(folder);
  for (const long of longTexts) {
    const startMs = performance.now();
    tokenizer.encode(long);
    expect(performance.now() - startMs).toBeLessThan(SOON_MS);
  }
}

describe('long texts are quick', () => {
  const runs = Array.from({ length: 64 }, (_, index) => 'a'.repeat(index + 1));

  test('for SentencePiece’s own charsmap', () => expectQuick(folderOfModel(model)));

  test('for pieces that all begin alike', () => {
    expectQuick(folderOfUnigram(undefined, [...pieces, ...runs.map((run, index) => [run, -index])]));
  });

  test('for merges that all begin alike', () => {
    const vocab = Object.fromEntries(['</s>', '<s>', '<unk>', '▁', ...runs].map((token, id) => [token, id]));
    const merges = runs.slice(1).map((run) => [run.slice(1), 'a']);
    expectQuick(
      temporaryFolder({
        'tokenizer.json': JSON.stringify({ model: { type: 'BPE', vocab, merges } }),
        'tokenizer_config.json': JSON.stringify({ tokenizer_class: 'LlamaTokenizer' }),
      }),
    );
  });
});

test('a vocabulary of 256,000 pieces is opened soon', () => {
  const many = Array.from({ length: 256_000 }, (_, index) => [`▁${index.toString(36)}xyz`, -index / 1e5]);
  const folder = folderOfUnigram(undefined, [...pieces, ...many]);
  const startMs = performance.now();
  expect(openTokenizer(folder).encode('10xyz')).toEqual([6 + 36, 1]);
  expect(performance.now() - startMs).toBeLessThan(3 * SOON_MS);
});

test.each<[title: string, vocab: readonly unknown[], part: string]>([
  ['no pieces', [], 'got none'],
  ['no unknown piece', pieces.slice(0, 2), 'unk_id'],
  ['a piece without a score', [...pieces, ['c']], 'with their scores'],
  ['a piece that is a number', [...pieces, [1, 1]], 'with their scores'],
  [
    'pieces of megabytes',
    Array.from({ length: 80_000 }, (_, index) => [`${index}`.padEnd(60, 'x'), 0]),
    'letters together',
  ],
])('a Unigram of %s is refused', (_, vocab, part) => {
  expectRefused(folderOfUnigram(undefined, vocab), 'tokenizer.json', part);
});
