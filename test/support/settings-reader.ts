import { expect, test } from 'vitest';
import type { EnvironmentVariables, SettingDefinition } from '../../pipeline/setting-definitions.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { thrownBy } from './thrown.ts';

/** Tests that every reader of settings must pass. Each function declares the tests of one `describe`. */

export interface SettingsReader {
  readonly read: (environment: EnvironmentVariables) => object;
  readonly definitions: readonly Pick<SettingDefinition<unknown>, 'defaultText' | 'description' | 'variable'>[];
  /** The settings where no variable is set. */
  readonly defaults: object;
}

export function testDefaults({ read, definitions, defaults }: SettingsReader): void {
  const variables = definitions.map(({ variable }) => variable);
  const setAll = (text: string) => Object.fromEntries(variables.map((variable) => [variable, text]));

  test('hold where no variable is set', () => {
    expect(read({})).toEqual(defaults);
  });

  test.each(['', ' \t'])('hold where every variable is %j', (text) => {
    expect(read(setAll(text))).toEqual(defaults);
  });

  test('hold beside variables of others, and variables in lower case', () => {
    const lowerCase = Object.fromEntries(variables.map((variable) => [variable.toLowerCase(), '7']));
    expect(read({ PATH: '/usr/bin', BLIP_UNKNOWN: 'x', ...lowerCase })).toEqual(defaults);
  });
}

/** @param cases a valid text of each variable, and the settings that differ from the defaults then. */
export function testVariables(
  { read, definitions, defaults }: SettingsReader,
  cases: Readonly<Record<string, readonly [text: string, changes: object]>>,
): void {
  test.each(Object.entries(cases))('%s changes its own setting alone', (variable, [text, changes]) => {
    expect(read({ [variable]: text })).toEqual({ ...defaults, ...changes });
    expect(read({ [variable]: ` ${text}\n` })).toEqual({ ...defaults, ...changes });
  });

  test('is among these', () => {
    const variables = definitions.map(({ variable }) => variable);
    expect(variables.toSorted()).toEqual(Object.keys(cases).toSorted());
  });

  test.each(definitions)('$variable has a description and a default', ({ description, defaultText }) => {
    expect(description).toMatch(/\.$/);
    expect(defaultText).not.toBe('');
  });
}

const notCounts = ['1.5', '1e3', '0x10', 'many', '+2', '1 000', '1_000', 'NaN', 'Infinity'];
const MORE_THAN_A_NUMBER_COUNTS = '9'.repeat(16);

export interface InvalidValues {
  /** Variables that are whole numbers, with their minimum. */
  readonly counts: readonly (readonly [variable: string, minimum: number])[];
  readonly texts: readonly (readonly [variable: string, text: string])[];
  /** Short values that no message repeats. */
  readonly hidden?: readonly (readonly [variable: string, text: string])[];
  /** Values that contain the word `token`. The first variable is not valid. */
  readonly secrets: EnvironmentVariables;
}

export function testInvalidValues(
  { read }: SettingsReader,
  { counts, texts, secrets, hidden = [] }: InvalidValues,
): void {
  const errorOf = (environment: EnvironmentVariables): HandlerError => {
    const error = thrownBy(() => read(environment));
    expect(error).toBeInstanceOf(HandlerError);
    return error as HandlerError; // The line above.
  };
  const expectInvalid = (variable: string, text: string) => {
    const { code, message } = errorOf({ [variable]: text });
    expect(code).toBe('SETTINGS_INVALID');
    expect(message).toMatch(new RegExp(`^Expected ${variable} to be .+, got .+\\.$`));
    const isRepeated = text.trim().length <= 20 && !hidden.some(([secret]) => secret === variable);
    expect(message.endsWith(`, got ${isRepeated ? JSON.stringify(text.trim()) : 'something else'}.`)).toBe(true);
  };

  test.each(counts)('%s must be a whole number of at least %d', (variable, minimum) => {
    for (const text of [String(minimum - 1), ...notCounts, MORE_THAN_A_NUMBER_COUNTS]) expectInvalid(variable, text);
  });

  test.each(texts)('%s must not be %s', expectInvalid);

  test('are repeated where they are short', () => {
    for (const [variable, text] of [...texts, ...hidden]) expectInvalid(variable, text);
  });

  test('are, where they are long as secrets are, repeated neither in the message nor in its cause', () => {
    const { message, cause } = errorOf(secrets);
    expect(Object.values(secrets).join()).toContain('token');
    expect(message).toContain(Object.keys(secrets)[0]);
    expect(`${message} ${String(cause)}`).not.toContain('token');
  });
}
