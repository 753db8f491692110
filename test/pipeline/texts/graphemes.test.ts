import { expect, test } from 'vitest';
import { graphemesOf } from '../../../pipeline/texts/graphemes.ts';

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });
const parts = [
  'a',
  '日',
  'e\u0301',
  '🇩🇪',
  '🇫',
  '👩\u200d👧',
  '\u0301',
  '\r\n',
  '\r',
  '한',
  '\u1112\u1161',
  '👍🏽',
  'क्षि',
  ' ',
];

/** Parts in an order that looks like chance, and is the same every time. */
function mixed(count: number, seed: number): string {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 16;
  };
  return Array.from({ length: count }, () => parts[next() % parts.length]).join('');
}

test.each([1, 2, 3, 4, 5])('windows find the graphemes of the whole text, order %i', (seed) => {
  const text = mixed(600, seed);
  const whole = Array.from(segmenter.segment(text), ({ segment }) => segment);
  expect([...graphemesOf(text)]).toEqual(whole);
});

test.each([
  ['one letter with marks without end', `a${'\u0301'.repeat(2_000)}b`, 2],
  ['flags without end', '🇩🇪'.repeat(500), 500],
  ['nothing', '', 0],
])('%s', (_, text, count) => {
  const found = [...graphemesOf(text)];
  expect(found.join('')).toBe(text);
  expect(found).toHaveLength(count);
});
