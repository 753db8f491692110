import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openCheckpoint, textPartOf } from '../../../checkpoint/checkpoint.ts';
import { blipTexts } from '../../../pipeline/texts/blip-texts.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { checkVocabulary } from '../../../pipeline/texts/vocabulary-check.ts';
import { checkpointFolder, checkpointNames } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const shipped = fileURLToPath(new URL('../../../checkpoints/', import.meta.url));
const shippedNames = readdirSync(shipped).filter((name) => name.startsWith('scenes-'));

/** A copy of a checkpoint without its weights, some of whose files are others. `undefined` leaves one out. */
function copyOf(folder: string, changes: Readonly<Record<string, string | undefined>>): string {
  const copy = temporaryFolder();
  for (const name of readdirSync(folder))
    if (!name.endsWith('.safetensors')) cpSync(join(folder, name), join(copy, name));
  for (const [name, content] of Object.entries(changes)) {
    if (content === undefined) rmSync(join(copy, name), { force: true });
    else writeFileSync(join(copy, name), content);
  }
  return copy;
}

function check(folder: string): readonly string[] {
  return checkVocabulary(openTokenizer(folder), textPartOf(openCheckpoint(folder).config));
}

const whole = checkpointFolder('untied-bfloat16');
const words = readFileSync(join(whole, 'vocab.txt'), 'utf8').trimEnd().split('\n');
const vocabularyOf = (tokens: readonly string[]) => ({ 'vocab.txt': `${tokens.join('\n')}\n` });
const config = (text: object): string => {
  const values = JSON.parse(readFileSync(join(whole, 'config.json'), 'utf8'));
  return JSON.stringify({ ...values, text_config: { ...values.text_config, ...text } });
};

describe('the tokenizer of a checkpoint', () => {
  test.each([...checkpointNames, 'clip-real-end', 'clip-placeholder-end', 'answers-float16'] as const)(
    'of %s fits its model',
    (name) => {
      expect(check(checkpointFolder(name))).toEqual([]);
    },
  );

  test.each(shippedNames)('of %s, which ships, fits its model', (name) => {
    expect(check(join(shipped, name))).toEqual([]);
  });

  test.each(['blip2-opt', 'blip2-t5', 'instructblip-vicuna'] as const)('of %s puts tokens around texts', (name) => {
    const { path, encode } = openTokenizer(checkpointFolder(name));
    expect(encode(''), path).not.toEqual([]);
    expect(check(checkpointFolder(name))).toEqual([]);
  });

  test('that puts no token before OPT’s texts is told', () => {
    const source = checkpointFolder('blip2-opt');
    const definition = JSON.parse(readFileSync(join(source, 'tokenizer.json'), 'utf8'));
    const folder = temporaryFolder({
      'config.json': readFileSync(join(source, 'config.json')),
      'tokenizer_config.json': readFileSync(join(source, 'tokenizer_config.json')),
      'tokenizer.json': JSON.stringify({ ...definition, post_processor: null }),
    });
    expect(check(folder)).toEqual([expect.stringContaining('puts no special token around texts')]);
  });

  test('that is smaller than its model is told', () => {
    const folder = copyOf(whole, vocabularyOf(words.slice(0, 100)));
    expect(check(folder)).toEqual([
      `${folder}/vocab.txt: 82 of the model's 184 tokens are missing. Answers show U+FFFD in their place.`,
    ]);
  });

  test('that is much smaller than its model is told soon', () => {
    const folder = copyOf(whole, { 'config.json': config({ vocab_size: 1_000_000 }) });
    const [notice] = check(folder);
    expect(notice).toContain("of the model's 1000000 tokens are missing");
  });

  test('that has gaps is told', () => {
    const folder = copyOf(whole, vocabularyOf(words.map((word, id) => (id === 20 ? words[21] : word) ?? '')));
    expect(check(folder)).toEqual([expect.stringContaining("1 of the model's 184 tokens")]);
  });

  test('that is larger than its model is told', () => {
    const folder = copyOf(whole, { 'added_tokens.json': JSON.stringify({ x1: 182, x2: 183, x3: 184 }) });
    expect(check(folder)).toEqual([expect.stringContaining('has 185 tokens, and the model 184.')]);
  });

  test('whose end is not the end of answers is told', () => {
    const folder = copyOf(whole, { 'config.json': config({ sep_token_id: 9 }) });
    expect(check(folder)).toEqual([expect.stringContaining('texts end with token 3, and answers with sep_token_id 9')]);
  });

  test('whose tokens around a text are beyond the model is refused', () => {
    const folder = copyOf(whole, vocabularyOf(words.with(3, '-').concat(['x', 'y', '[SEP]'])));
    expectCheckpointError(() => check(folder), 'CHECKPOINT_TOKENIZER_INVALID', ['vocab_size 184', 'got 184']);
  });

  test('of CLIP that ends texts otherwise than its model is refused', () => {
    const clip = checkpointFolder('clip-real-end');
    const values = JSON.parse(readFileSync(join(clip, 'config.json'), 'utf8'));
    const text_config = { ...values.text_config, eos_token_id: 7 };
    const folder = copyOf(clip, { 'config.json': JSON.stringify({ ...values, text_config }) });
    expectCheckpointError(() => check(folder), 'CHECKPOINT_TOKENIZER_INVALID', ['eos_token_id 7 of config.json']);
  });
});

const namesOfBlip = ['scenes-captioning', 'scenes-question-answering', 'scenes-retrieval'];

describe.each(namesOfBlip)('%s', (name) => {
  const folder = join(shipped, name);
  const reference = openTokenizer(folder);
  const texts = ['', 'a picture of', 'How many CATS are there?', 'two red dogs, one café', '[DEC] [ENC] [MASK]', 'xyz'];
  const settings = { 'tokenizer_config.json': undefined, 'special_tokens_map.json': undefined };

  test.each<[title: string, changes: Readonly<Record<string, undefined>>]>([
    ['tokenizer.json', { 'tokenizer.json': undefined }],
    ['vocab.txt', { 'vocab.txt': undefined }],
    ['tokenizer.json and tokenizer_config.json', { 'tokenizer.json': undefined, ...settings }],
  ])('reads and writes texts as well without %s', (title, changes) => {
    const copy = copyOf(folder, changes);
    const tokenizer = openTokenizer(copy);
    // Without any settings [DEC] and [ENC] are words as others are, as in transformers.
    const written = title.includes('config') ? texts.filter((text) => !text.includes('[DEC]')) : texts;
    expect(written.map((text) => tokenizer.encode(text))).toEqual(written.map((text) => reference.encode(text)));
    const text = textPartOf(openCheckpoint(folder).config);
    if (!('sepTokenId' in text)) throw new Error('Expected a checkpoint of BLIP.');
    const ids = [text.bosTokenId, ...reference.encode('two cats on a yellow background').slice(1)];
    expect(blipTexts(text, tokenizer).decode(ids)).toBe('two cats on a yellow background');
    expect(check(copy)).toEqual([]);
  });
});

test('a BLIP tokenizer without [DEC] and [ENC], as published ones are, writes neither', () => {
  const text = textPartOf(openCheckpoint(whole).config);
  if (!('sepTokenId' in text)) throw new Error('Expected a checkpoint of BLIP.');
  const texts = blipTexts(text, openTokenizer(whole));
  expect(texts.decode([182, 5, 54, 183, 8, 3])).toBe('a picture of');
  expect(texts.decode([182, 5, 999, 8, 3])).toBe('a \ufffd of');
});
