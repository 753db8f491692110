import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { fixtures } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** The part of tokenizer.json that older checkpoints keep in two files. */
interface Definition {
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
  readonly model: { readonly vocab: Readonly<Record<string, number>>; readonly merges: readonly (readonly string[])[] };
}

const whole = `${fixtures}checkpoints/clip-real-end`;
const { added_tokens: added, model }: Definition = JSON.parse(readFileSync(join(whole, 'tokenizer.json'), 'utf8'));

/** A folder with vocab.json and merges.txt in place of the tokenizer.json that transformers wrote. */
function olderFolder(
  vocabulary: object = { ...model.vocab, ...Object.fromEntries(added.map((t) => [t.content, t.id])) },
) {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'vocab.json'), JSON.stringify(vocabulary));
  const merges = model.merges.map((merge) => merge.join(' '));
  writeFileSync(join(folder, 'merges.txt'), `${['#version: 0.2', ...merges].join('\n')}\n`);
  return folder;
}

describe('vocab.json and merges.txt', () => {
  test.each([
    'a photo of a cat',
    "It's  THE dog's 3 naïve cafés!!",
    '',
    'two\nlines\tand a tab',
    '<|endoftext|> inside',
    'x'.repeat(60),
    '🐈 日本',
  ])('make the ids of the tokenizer.json that transformers wrote: %j', (text) => {
    const [older, reference] = [openTokenizer(olderFolder()), openTokenizer(whole)];
    const ids = reference.encode(text);
    expect(ids.length).toBeGreaterThanOrEqual(2);
    expect(older.encode(text)).toEqual(ids);
    expect(older.decode(ids)).toBe(reference.decode(ids));
  });

  test('need the tokens around a text', () => {
    const parts = ['vocab.json', '<|startoftext|>', 'got none'];
    const { '<|startoftext|>': _, ...others } = model.vocab;
    expectCheckpointError(() => openTokenizer(olderFolder(others)), 'CHECKPOINT_TOKENIZER_INVALID', parts);
  });
});
