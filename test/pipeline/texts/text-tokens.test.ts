import { describe, expect, test } from 'vitest';
import { encoderTokens, readInTurns } from '../../../pipeline/texts/text-tokens.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { thrownBy } from '../../support/thrown.ts';

describe('several texts', () => {
  test('are read in their order, with turns of others in between', async () => {
    const seen: string[] = [];
    const read = (text: string) => {
      seen.push(text);
      setImmediate(() => seen.push('other'));
      return text.length;
    };
    expect(await readInTurns(['a', 'bb', 'ccc'], read, undefined)).toEqual([1, 2, 3]);
    expect(seen).toEqual(['a', 'other', 'bb', 'other', 'ccc']);
  });

  test('are read no further when their request is dropped', async () => {
    const dropped = new AbortController();
    const seen: string[] = [];
    const read = (text: string) => {
      seen.push(text);
      dropped.abort(new Error('dropped'));
    };
    await expect(readInTurns(['a', 'b'], read, dropped.signal)).rejects.toThrow('dropped');
    expect(seen).toEqual(['a']);
  });
});

test('a text has at most 262144 characters, however many positions a checkpoint claims', () => {
  const unread = { encode: () => [], decode: () => '' };
  const model = { maxPositions: 65_536, vocabularySize: 1_000_000 };
  expect(encoderTokens('a'.repeat(262_144), 'text', model, unread)).toEqual([]);
  const error = thrownBy(() => encoderTokens('a'.repeat(262_145), 'text', model, unread));
  expect(error).toMatchObject({
    code: 'PROMPT_TOO_LONG',
    message: expect.stringContaining('at most 262144 characters'),
  });
});

test('characters that become words are counted as such', () => {
  const unread = { encode: () => [], decode: () => '' };
  const model = { maxPositions: 2048, vocabularySize: 1_000_000 };
  expect(encoderTokens('\ufdfa'.repeat(14_563), 'text', model, unread)).toEqual([]);
  const error = thrownBy(() => encoderTokens('\ufdfa'.repeat(14_564), 'text', model, unread));
  expect(error).toMatchObject({ code: 'PROMPT_TOO_LONG', message: expect.stringContaining('got 262152') });
});

describe.each([
  ['BLIP', 'narrow-vision'],
  ['CLIP', 'clip-real-end'],
  ['OPT', 'blip2-opt'],
  ['T5', 'blip2-t5'],
  ['LLaMA', 'instructblip-vicuna'],
] as const)('words of %s', (_, folder) => {
  const tokenizer = openTokenizer(checkpointFolder(folder));
  const model = { maxPositions: 10, vocabularySize: 1_000_000 };

  test('are counted before they are read, and more than there are positions refused', () => {
    const unread = { encode: () => [], decode: () => '' };
    const error = thrownBy(() => encoderTokens('a '.repeat(11), 'text', model, unread));
    expect(error).toMatchObject({
      code: 'PROMPT_TOO_LONG',
      message: 'Expected a text of at most 10 tokens, got 11 words.',
    });
  });

  const signs = ['\u0000', '\u0301', '\ufeff', '\u00ad', '\u200b', '\u00a0', '\u2028', '.', '-', '7'];
  test.each(signs)('never count more than the tokens, with the sign %j among them', (sign) => {
    for (const text of [`${sign} `, `a${sign}`, `${sign}a `, `${sign}\n`].map((part) => part.repeat(30))) {
      const ids = tokenizer.encode(text);
      expect(encoderTokens(text, 'text', { ...model, maxPositions: ids.length }, tokenizer)).toEqual(ids);
    }
  });
});
