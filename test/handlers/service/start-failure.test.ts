import { expect, test } from 'vitest';
import { startFailure } from '../../../handlers/service/start-failure.ts';
import { HandlerError } from '../../../protocol/errors.ts';

/** The error of a server that cannot start, for people and for programs. */

const error = new HandlerError('SETTINGS_INVALID', 'Expected one thing, got another.');
const words = 'SETTINGS_INVALID: Expected one thing, got another.\n';
const json = '{"error":"Expected one thing, got another.","code":"SETTINGS_INVALID"}\n';

test.each([
  [{}, true, words],
  [{}, false, json],
  [{ LOG_FORMAT: 'json' }, true, json],
  [{ LOG_FORMAT: 'text' }, false, words],
  [{ LOG_FORMAT: 'pretty' }, true, words],
  [{ LOG_FORMAT: 'pretty' }, false, json],
])('with %j, on a terminal: %s', (environment, isTTY, wanted) => {
  expect(startFailure(error, environment, { isTTY })).toBe(wanted);
});
