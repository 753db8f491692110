import { expect, test } from 'vitest';
import { isLinearRegex } from '../../../../pipeline/texts/definitions/linear-regex.ts';

/** Patterns of published tokenizer.json files: CLIP, GPT-2, Llama 3, Qwen 2; and simple ones of others. */
test.each([
  `<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+`,
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  '\\s+',
  ' {2,}',
  '[0-9]{1,3}',
  '\\p{N}',
  '\\n',
  '[^\\s]+|\\s',
])('%s is taken', (pattern) => {
  expect(isLinearRegex(pattern)).toBe(true);
});

test.each([
  '(a+)+$',
  '(a|a)*b',
  '(?:\\w+\\s?)+$',
  '(\\w+)\\1',
  'a+b',
  'a*a*a*b',
  '\\s*[\\r\\n]+',
  '(?=a+)a',
  '(?<=a+)b',
  '\\p{L}+$',
  '^a+',
  '.*x',
  'a*',
  'a??a??b+c',
  'a{0,3}',
  'a{1,99999}',
  'a+?b',
  'a++',
  '[a[b]]+',
  '[a&&b]+',
  '(?i:a)',
  '\\b',
  'a|',
  'a?a?a?b',
  `${'a?'.repeat(30)}b`,
  '',
  '\\1',
  `${'a?'.repeat(400)}b`,
  `${'a'.repeat(998)}(`,
  `${'a|'.repeat(498)}(`,
  `${'[a'.repeat(498)}`,
])('%s is refused', (pattern) => {
  expect(isLinearRegex(pattern)).toBe(false);
});

test('what is taken stays quick on long texts', () => {
  const texts = ['a', ' ', "'", '1', '\n', 'a ', 'é!', '日'].map((part) => part.repeat(20_000));
  for (const pattern of [' ?\\p{L}+| ?\\p{N}+', '\\s?\\s?a{2,9}', '[^\\s\\p{L}]{2,}|\\s', 'a?a?b']) {
    expect(isLinearRegex(pattern)).toBe(true);
    const startMs = performance.now();
    for (const text of texts) text.match(new RegExp(pattern, 'gu'));
    expect(performance.now() - startMs).toBeLessThan(1_000);
  }
});
