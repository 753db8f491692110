import { describe, expect, test } from 'vitest';
import { compile, compileInputs } from '../../protocol/validation.ts';
import { thrownBy } from '../support/thrown.ts';

describe('names that a client made up', () => {
  const long = 'x'.repeat(1_000_000);

  test.each<[string, () => unknown]>([
    ['an input', () => compileInputs({})({ [long]: 1 })],
    [
      'a place',
      () => compile({ type: 'object', additionalProperties: { type: 'string' } }, 'INVALID_INPUT')({ [long]: 1 }),
    ],
    [
      'a number',
      () =>
        compile({ type: 'object', additionalProperties: { type: 'string' } }, 'INVALID_INPUT')({ ['1'.repeat(99)]: 1 }),
    ],
  ])('are not sent back where they are long: %s', (_, check) => {
    const { message } = thrownBy(check) as Error; // Each throws a HandlerError.
    expect(message).toMatch(/^Expected /);
    expect(message.length).toBeLessThan(120);
  });

  test('are named where they are short', () => {
    expect(thrownBy(() => compileInputs({})({ colour: 1 }))).toMatchObject({
      message: 'Expected the request to have known names only, got "colour".',
    });
  });
});
