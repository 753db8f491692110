import { describe, expect, test } from 'vitest';
import { countCharacter, requireFewValues } from '../../protocol/value-count.ts';

const limit = 262_144;

describe('JSON of as many values as pass', () => {
  test.each<[string, string]>([
    ['a list of numbers', `[${'0,'.repeat(limit - 1)}0]`],
    ['lists in lists', '['.repeat(limit)],
    ['objects', `${'{'.repeat(limit)}`],
    ['a long text without separators', JSON.stringify('a'.repeat(1_000_000))],
    ['no JSON', ''],
  ])('passes: %s', (_title, json) => {
    for (const content of [json, Buffer.from(json)]) expect(() => requireFewValues(content)).not.toThrow();
  });
});

describe('JSON of more values', () => {
  test.each<[string, string]>([
    ['a list of numbers', `[${'0,'.repeat(limit)}0]`],
    ['objects in a list', `[${'{},'.repeat(limit / 2)}{}]`],
    ['lists in lists', '['.repeat(limit + 1)],
    ['keys', `{${'"":0,'.repeat(limit)}"":0}`],
    ['all kinds together', `${'['.repeat(90_000)}${'{'.repeat(90_000)}${','.repeat(90_000)}`],
  ])('is refused: %s', (_title, json) => {
    for (const content of [json, Buffer.from(json)])
      expect(() => requireFewValues(content)).toThrowError(expect.objectContaining({ code: 'INVALID_REQUEST' }));
  });
});

test('counts within a view of larger bytes, and no further than it must', () => {
  const bytes = Buffer.from(',,,a,b,,,');
  expect(countCharacter(new Uint8Array(bytes.buffer, bytes.byteOffset + 3, 3), ',', 100)).toBe(1);
  expect(countCharacter(bytes, ',', 2)).toBe(3);
  expect(countCharacter('a&b&&', '&', 100)).toBe(3);
  expect(countCharacter(Buffer.from('é,'), ',', 100)).toBe(1);
});
