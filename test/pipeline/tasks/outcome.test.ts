import { expect, test } from 'vitest';
import { atImage } from '../../../pipeline/tasks/outcome.ts';
import { HandlerError } from '../../../protocol/errors.ts';

test('an error about one image of several says which', () => {
  const error = new HandlerError('IMAGE_HOST_NOT_FOUND', 'Expected a host, got none.');
  expect(atImage({ error }, { index: 1, count: 3 })).toMatchObject({
    error: { code: 'IMAGE_HOST_NOT_FOUND', message: 'Image 2 of 3: Expected a host, got none.', cause: error },
  });
  expect(atImage({ error }, { index: 0, count: 1 })).toEqual({ error }); // There is no other.
});

test('other errors, and results, stay as they are', () => {
  const failure = { error: new HandlerError('PROMPT_TOO_LONG', 'Expected less, got more.') };
  expect(atImage(failure, { index: 1, count: 3 })).toBe(failure);
  const result = { texts: [] };
  expect(atImage(result, { index: 1, count: 3 })).toBe(result);
});
