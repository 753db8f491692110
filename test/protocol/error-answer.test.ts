import { describe, expect, test } from 'vitest';
import { errorAnswer, errorBody, errorText } from '../../protocol/error-answer.ts';
import { type ErrorCode, errorCodes, HandlerError } from '../../protocol/errors.ts';

const codes = Object.keys(errorCodes) as readonly ErrorCode[]; // The keys of a table of codes.
const MESSAGE = 'Expected "one" thing, got another: Größe.';

/** Headers that tell a client what to do. Answers with other codes have their content type alone. */
const headersByCode: Partial<Record<ErrorCode, object>> = {
  UNAUTHORIZED: { 'www-authenticate': 'Bearer' },
  UNSUPPORTED_ENCODING: { 'accept-encoding': 'gzip, deflate' },
  OVERLOADED: { 'retry-after': '1' },
  NOT_READY: { 'retry-after': '1' },
};

describe.each(codes)('%s', (code) => {
  const error = new HandlerError(code, MESSAGE, { cause: new Error('Expected to stay inside.') });

  test('is an HTTP answer with its status, its headers, and its message and code in JSON', () => {
    const { status, headers, body } = errorAnswer(error);
    expect(status).toBe(errorCodes[code].http);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(headers).toEqual({ ...headersByCode[code], 'content-type': 'application/json' });
    expect(JSON.parse(body)).toEqual({ error: MESSAGE, code });
  });

  test('is a value for JSON, and one line of text', () => {
    expect(errorBody(error)).toEqual({ error: MESSAGE, code });
    expect(errorText(error)).toBe(`${code}: ${MESSAGE}`);
  });
});
