import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutoTokenizer, env, type PreTrainedTokenizer } from '@huggingface/transformers';
import { beforeAll, describe, expect, test } from 'vitest';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { checkpointFolder, readGoldenJson } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

interface GoldenText {
  readonly text: string;
  readonly ids: readonly number[];
  readonly decoded: string;
}

const goldens = readGoldenJson<readonly GoldenText[]>('tokenizer.json');
const vocabulary = readFileSync(`${checkpointFolder('untied-bfloat16')}/vocab.txt`, 'utf8');
const definition = readFileSync(`${checkpointFolder('narrow-vision')}/tokenizer.json`, 'utf8');

/** One folder has a tokenizer.json, the other only a vocab.txt; both have the same vocabulary. */
const kinds = ['narrow-vision', 'untied-bfloat16'] as const;

describe.each(kinds)('the tokenizer of %s', (name) => {
  const tokenizer = openTokenizer(checkpointFolder(name));

  test.each(goldens)('makes the ids of transformers of $text, and text of the ids', ({ text, ids, decoded }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(decoded);
  });

  test('shows a sign for ids that it does not know', () => {
    expect(tokenizer.decode([2, 5, 999_999, 54, -1, 8, 3])).toBe('a � picture � of');
  });

  test('makes no text of no ids, nor of special ones', () => {
    expect([tokenizer.decode([]), tokenizer.decode([2, 3, 0])]).toEqual(['', '']);
  });
});

describe('as the tokenizer of transformers.js', () => {
  let reference: PreTrainedTokenizer;
  beforeAll(async () => {
    const before = [env.allowRemoteModels, env.localModelPath] as const;
    env.allowRemoteModels = false;
    env.localModelPath = `${dirname(checkpointFolder('narrow-vision'))}/`;
    reference = await AutoTokenizer.from_pretrained('narrow-vision');
    [env.allowRemoteModels, env.localModelPath] = before;
  });

  const texts = [
    ...goldens.map(({ text }) => text),
    'two DOGS,running!',
    'a\tcat\non a\u00a0table',
    'an emoji 🐈 and a flag 🇩🇪',
    'e\u0301cole, Ünïcödé',
    `one word of ${'x'.repeat(101)} letters`,
    'null\u0000byte and zero\u200bwidth',
    '日本の犬 red',
    '[CLS] [PAD] [UNK] [DEC]',
    '...---...',
    '   ',
  ];

  test.each(kinds)('%s makes the same ids', (name) => {
    const tokenizer = openTokenizer(checkpointFolder(name));
    expect(texts.map((text) => tokenizer.encode(text))).toEqual(texts.map((text) => reference.encode(text)));
  });

  // transformers.js cleans up spaces unless told otherwise; transformers and these checkpoints do not.
  test.each(kinds)('%s makes the same text', (name) => {
    const tokenizer = openTokenizer(checkpointFolder(name));
    const ids = texts.map((text) => reference.encode(text));
    expect(ids.map((each) => tokenizer.decode(each))).toEqual(
      ids.map((each) => reference.decode(each, { skip_special_tokens: true, clean_up_tokenization_spaces: false })),
    );
  });
});

describe('a vocab.txt', () => {
  test('may have the line ends of Windows, and none at its end', () => {
    const tokenizer = openTokenizer(temporaryFolder({ 'vocab.txt': vocabulary.trimEnd().replaceAll('\n', '\r\n') }));
    for (const { text, ids } of goldens) expect(tokenizer.encode(text)).toEqual(ids);
  });

  test('keeps capitals where the checkpoint says so', () => {
    const folder = temporaryFolder({ 'vocab.txt': vocabulary, 'tokenizer_config.json': '{"do_lower_case":false}' });
    expect(openTokenizer(folder).encode('a Dog')).toEqual([2, 5, 1, 3]);
  });

  test('has the special tokens that tokenizer_config.json names', () => {
    const folder = temporaryFolder({
      'vocab.txt': vocabulary.replace('[SEP]', '</s>'),
      'tokenizer_config.json': '{"sep_token":"</s>"}',
    });
    const tokenizer = openTokenizer(folder);
    expect(tokenizer.encode('a picture of')).toEqual([2, 5, 54, 8, 3]);
    expect(tokenizer.decode([2, 5, 54, 8, 3])).toBe('a picture of');
  });

  test('without one of the special tokens is refused, and the token named', () => {
    const folder = temporaryFolder({ 'vocab.txt': vocabulary.replace('[SEP]', '[END]') });
    expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', [
      join(folder, 'vocab.txt'),
      'the token [SEP]',
      'got none',
    ]);
  });

  test('does not count where there is a tokenizer.json', () => {
    const folder = temporaryFolder({ 'vocab.txt': 'nothing', 'tokenizer.json': definition });
    expect(openTokenizer(folder).encode('a picture of')).toEqual([2, 5, 54, 8, 3]);
  });
});

describe('a folder that has no tokenizer', () => {
  test('is refused, with both files that it could have had', () => {
    const folder = temporaryFolder({ 'tokenizer_config.json': '{}' });
    expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', [
      folder,
      'expected tokenizer.json, vocab.txt, or vocab.json and merges.txt',
      'got none of these sets',
    ]);
  });

  test.each([
    ['cut off', definition.slice(0, definition.length / 2)],
    ['a list', '[]'],
    ['empty', '{}'],
    ['without a model', JSON.stringify({ ...JSON.parse(definition), model: null })],
    ['of a kind that nobody knows', JSON.stringify({ ...JSON.parse(definition), model: { type: 'Oracle' } })],
    ['without a vocabulary', JSON.stringify({ ...JSON.parse(definition), model: { type: 'WordPiece' } })],
  ])('is refused where tokenizer.json is %s, even beside a vocab.txt', (_, text) => {
    const folder = temporaryFolder({ 'tokenizer.json': text, 'vocab.txt': vocabulary });
    expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', [folder, 'tokenizer.json']);
  });

  test('is refused where tokenizer_config.json is cut off', () => {
    const folder = temporaryFolder({ 'tokenizer.json': definition, 'tokenizer_config.json': '{"do_lower' });
    expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', [
      join(folder, 'tokenizer_config.json'),
    ]);
  });
});

test('the checkpoint that ships has a tokenizer', () => {
  const folder = fileURLToPath(new URL('../../../checkpoints/scenes-captioning', import.meta.url));
  const tokenizer = openTokenizer(folder);
  expect(tokenizer.decode(tokenizer.encode('A picture of'))).toBe('a picture of');
});
