import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { bearerTokenCheck } from '../../../handlers/service/bearer-token.ts';
import { thrownBy } from '../../support/thrown.ts';

const nameOf = (token: string) => createHash('sha256').update(token).digest('hex').slice(0, 8);

test('every token has a name that does not tell it: old and new ones side by side', () => {
  const check = bearerTokenCheck(['old-token', 'new-token']);
  expect(check('Bearer old-token')).toBe(nameOf('old-token'));
  expect(check('bearer  new-token ')).toBe(nameOf('new-token'));
});

test('another token is refused, and not repeated', () => {
  const check = bearerTokenCheck(['old-token', 'new-token']);
  for (const header of [undefined, '', 'Bearer', 'Bearer mistyped-token', 'Bearer old-token,new-token']) {
    const error = thrownBy(() => check(header));
    expect(error).toMatchObject({ code: 'UNAUTHORIZED' });
    expect(String(error)).not.toMatch(/mistyped|old|new-/);
  }
});

test('where there are no tokens everyone may come in, and has no name', () => {
  const check = bearerTokenCheck([]);
  expect([check(undefined), check('Bearer any')]).toEqual([undefined, undefined]);
});
