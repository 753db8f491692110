import { expect, test } from 'vitest';
import { cleanOpenClipText } from '../../../pipeline/texts/open-clip-cleaning.ts';

/** Goldens of open_clip's tokenizer are in open-clip-tokenizer.test.ts. */

test.each([
  ['A&amp;B &LT; &Lt;', 'a&b < &lt;'],
  ['&#0;&#xD800;&#1114112;', '\ufffd\ufffd\ufffd'],
  ['&eacute; &unknown; & &#; &amp', '&eacute; &unknown; & &#; &amp'],
  ['<b> &amp;lt;', '<b> <'],
  ['ﬃ ŉ Ｕﾀｰﾝ\u3000x', "ffi 'n uターン x"],
  ['\ud83d', '\ufffd'],
  ['a\r\nb\u0085c', 'a\nb\nc'],
  ['ΟΔΟΣ', 'οδος'],
])('%j becomes %j', (text, cleaned) => {
  expect(cleanOpenClipText(text)).toBe(cleaned);
});

test('a text of references in references takes no time', () => {
  const start = performance.now();
  expect(cleanOpenClipText(`&${'amp;'.repeat(60_000)}`).length).toBeGreaterThan(200_000);
  expect(performance.now() - start).toBeLessThan(1000);
});
