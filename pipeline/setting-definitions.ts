import { HandlerError } from '../protocol/errors.ts';

/** Settings as data: one definition for each environment variable, and the reader of them. */

export interface SettingDefinition<T> {
  /** The environment variable. */
  readonly variable: string;
  readonly description: string;
  /** The default as docs/reference/settings.md shows it. */
  readonly defaultText: string;
  readonly defaultValue: T;
  /** Returns `undefined` for a text that is not a valid value. */
  readonly parse: (text: string) => T | undefined;
  /** The valid values, for the message of an error. */
  readonly expected: string;
}

/** A definition for every setting of a record. */
export type SettingDefinitions<Settings> = { readonly [Name in keyof Settings]: SettingDefinition<Settings[Name]> };

export type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

/** Node's timers take no longer time; a longer one would end at once. */
const MAX_TIMER_MS = 2_147_483_647;

/** Completes the definition of a setting that needs a parser of its own. */
export function setting<T>(definition: SettingDefinition<T>): SettingDefinition<T> {
  return definition;
}

/** A whole number. */
export function count(
  variable: string,
  description: string,
  defaultValue: number,
  minimum: number,
  defaultText: string = String(defaultValue),
): SettingDefinition<number> {
  return {
    variable,
    description,
    defaultText,
    defaultValue,
    parse: (text) => (/^\d{1,15}$/.test(text) && Number(text) >= minimum ? Number(text) : undefined),
    expected: `a whole number of at least ${minimum}`,
  };
}

/** A time that a timer can wait for. */
export function milliseconds(
  variable: string,
  description: string,
  defaultValue: number,
  minimum: number,
  defaultText?: string,
): SettingDefinition<number> {
  const definition = count(variable, description, defaultValue, minimum, defaultText);
  const parse = (text: string) => {
    const time = definition.parse(text);
    return time !== undefined && time <= MAX_TIMER_MS ? time : undefined;
  };
  return { ...definition, parse, expected: `a whole number from ${minimum} to ${MAX_TIMER_MS}` };
}

/** A limit that does not exist by default, or follows from another one, as `defaultText` says. */
export function optionalLimit(
  variable: string,
  description: string,
  defaultText = 'no limit',
): SettingDefinition<number | undefined> {
  return {
    variable,
    description,
    defaultText,
    defaultValue: undefined,
    parse: (value) => (/^[1-9]\d{0,8}$/.test(value) ? Number(value) : undefined),
    expected: 'a whole number from 1 to 999999999',
  };
}

export function text(
  variable: string,
  description: string,
  defaultValue: string,
  defaultText: string,
): SettingDefinition<string> {
  return { variable, description, defaultText, defaultValue, parse: (value) => value, expected: 'text' };
}

/** The path of a file; none by default. */
export function path(
  variable: string,
  description: string,
  defaultText: string,
): SettingDefinition<string | undefined> {
  return { variable, description, defaultText, defaultValue: undefined, parse: (value) => value, expected: 'a path' };
}

/** The path of a URL, which a platform chooses; none by default. */
export function urlPath(variable: string, description: string): SettingDefinition<string | undefined> {
  return {
    variable,
    description,
    defaultText: 'none',
    defaultValue: undefined,
    parse: (value) => (/^\/[^\s?#]*$/.test(value) ? value : undefined),
    expected: 'a path that begins with a slash',
  };
}

/** A TCP port to listen on. */
export function port<Default extends number | undefined>(
  variable: string,
  description: string,
  defaultValue: Default,
  defaultText: string = String(defaultValue),
): SettingDefinition<number | Default> {
  return {
    variable,
    description,
    defaultText,
    defaultValue,
    parse: (value) => (/^\d{1,5}$/.test(value) && Number(value) <= 65_535 ? Number(value) : undefined),
    expected: 'a port number from 0 to 65535',
  };
}

export function choice<const T extends string>(
  variable: string,
  description: string,
  choices: readonly T[],
  defaultValue: T,
): SettingDefinition<T> {
  return {
    variable,
    description,
    defaultText: defaultValue,
    defaultValue,
    parse: (value) => choices.find((candidate) => candidate === value),
    expected: `one of ${choices.join(', ')}`,
  };
}

export function flag(variable: string, description: string, defaultValue: boolean): SettingDefinition<boolean> {
  return {
    variable,
    description,
    defaultText: String(defaultValue),
    defaultValue,
    parse: (value) => (value === 'true' ? true : value === 'false' ? false : undefined),
    expected: 'true or false',
  };
}

/** Texts separated by commas; none by default. Commas alone are refused: an empty list of hosts would allow all hosts. */
export function list(
  variable: string,
  description: string,
  defaultText: string,
  expected: string,
): SettingDefinition<readonly string[]> {
  return {
    variable,
    description,
    defaultText,
    defaultValue: [],
    parse(value) {
      const parts = value.split(',').map((part) => part.trim());
      const texts = parts.filter((part) => part !== '');
      return texts.length === 0 ? undefined : texts;
    },
    expected,
  };
}

/** Whether a name can stand in a path: dots alone are parts of a path. */
export function isModelName(name: string): boolean {
  return /^(?!\.{1,2}$)[\w.-]{1,100}$/.test(name);
}

/**
 * Reads one setting. An empty variable counts as absent.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable. The value is not repeated, because it may be a secret.
 */
export function readSetting<T>(definition: SettingDefinition<T>, environment: EnvironmentVariables): T {
  const { variable, defaultValue, parse, expected } = definition;
  const value = environment[variable]?.trim() ?? '';
  if (value === '') return defaultValue;
  const parsed = parse(value);
  if (parsed === undefined)
    throw new HandlerError('SETTINGS_INVALID', `Expected ${variable} to be ${expected}, got something else.`);
  return parsed;
}

/**
 * Reads every setting of a record.
 * @throws HandlerError `SETTINGS_INVALID` as `readSetting` does.
 */
export function readDefinitions<Settings extends object>(
  definitions: SettingDefinitions<Settings>,
  environment: EnvironmentVariables,
): Settings {
  const names = Object.keys(definitions) as (keyof Settings)[]; // The definitions have exactly the record's keys.
  const entries = names.map((name) => [name, readSetting(definitions[name], environment)]);
  return Object.fromEntries(entries) as Settings; // One entry for each key, parsed by the definition of that key.
}
