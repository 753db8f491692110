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
  /** How a value is written, for the help: `NUMBER`, `FILE`, `auto|cpu`. */
  readonly form: string;
  /** No message repeats its value. */
  readonly isSecret?: true;
}

/** The groups of settings, in the order of the help and of docs/reference/settings.md. */
export const settingSections = [
  'The model',
  'Computing',
  'What a request may ask for',
  'Images',
  'The server: where it listens',
  'The server: who may ask',
  'The server: limits, end and log',
] as const;

type SettingSection = (typeof settingSections)[number];

/** A setting in its place among the others. */
export interface PlacedSetting<T> extends SettingDefinition<T> {
  readonly section: SettingSection;
}

/** The definitions of a record before they have their place. */
export type UnplacedSettings<Settings> = { readonly [Name in keyof Settings]: SettingDefinition<Settings[Name]> };

/** A definition for every setting of a record. */
export type SettingDefinitions<Settings> = { readonly [Name in keyof Settings]: PlacedSetting<Settings[Name]> };

export type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

/** Node's timers take no longer time; a longer one would end at once. */
const MAX_TIMER_MS = 2_147_483_647;

/** Completes the definition of a setting that needs a parser of its own. */
export function setting<T>(definition: SettingDefinition<T>): SettingDefinition<T> {
  return definition;
}

/** Gives the settings of a record their place. */
export function inSection<Settings extends object>(
  section: SettingSection,
  definitions: UnplacedSettings<Settings>,
): SettingDefinitions<Settings> {
  const placed = Object.entries<SettingDefinition<unknown>>(definitions).map(([name, definition]) => [
    name,
    { ...definition, section },
  ]);
  return Object.fromEntries(placed) as SettingDefinitions<Settings>; // One entry for each key, with its own definition.
}

/** The option of the command line that sets a variable: `max-beams` for BLIP_MAX_BEAMS, `port` for PORT. */
export function optionName(variable: string): string {
  return variable
    .replace(/^BLIP_/, '')
    .toLowerCase()
    .replaceAll('_', '-');
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
    form: 'NUMBER',
  };
}

/** A whole number of at least 1; by default `auto`, which follows from where the process runs. */
export function countOrAuto(variable: string, description: string): SettingDefinition<number | 'auto'> {
  return {
    variable,
    description,
    defaultText: 'auto',
    defaultValue: 'auto',
    parse: (text) => (text === 'auto' ? text : /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined),
    expected: 'auto or a whole number of at least 1',
    form: 'auto|NUMBER',
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
  return { ...definition, parse, expected: `a whole number from ${minimum} to ${MAX_TIMER_MS}`, form: 'MS' };
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
    form: 'NUMBER',
  };
}

export function text(
  variable: string,
  description: string,
  defaultValue: string,
  defaultText: string,
  form: string,
): SettingDefinition<string> {
  return { variable, description, defaultText, defaultValue, parse: (value) => value, expected: 'text', form };
}

/** The path of a file; none by default. */
export function path(
  variable: string,
  description: string,
  defaultText: string,
): SettingDefinition<string | undefined> {
  return {
    variable,
    description,
    defaultText,
    defaultValue: undefined,
    parse: (value) => value,
    expected: 'a path',
    form: 'FILE',
  };
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
    form: 'PATH',
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
    form: 'PORT',
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
    form: choices.join('|'),
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
    form: 'true|false',
  };
}

/** Texts separated by commas; none by default. Commas alone are refused: an empty list of hosts would allow all hosts. */
export function list(
  variable: string,
  description: string,
  defaultText: string,
  expected: string,
  form: string,
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
    form,
  };
}

/** Whether a name can stand in a path: dots alone are parts of a path. */
export function isModelName(name: string): boolean {
  return /^(?!\.{1,2}$)[\w.-]{1,100}$/.test(name);
}

/** Longer values are not repeated: a secret that was put into the wrong variable is longer. */
const MAX_REPEATED_CHARACTERS = 20;

/**
 * Reads the text of one setting.
 * @param name of the variable or option that has the text.
 * @throws HandlerError `SETTINGS_INVALID`, which repeats the text where it is short and the setting no secret.
 */
export function parseSetting<T>({ parse, expected, isSecret }: SettingDefinition<T>, name: string, text: string): T {
  const parsed = parse(text);
  if (parsed !== undefined) return parsed;
  const isRepeated = isSecret !== true && text.length <= MAX_REPEATED_CHARACTERS;
  const got = isRepeated ? JSON.stringify(text) : 'something else';
  throw new HandlerError('SETTINGS_INVALID', `Expected ${name} to be ${expected}, got ${got}.`);
}

/**
 * Reads one setting. An empty variable counts as absent.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable.
 */
export function readSetting<T>(definition: SettingDefinition<T>, environment: EnvironmentVariables): T {
  const { variable, defaultValue } = definition;
  const value = environment[variable]?.trim() ?? '';
  return value === '' ? defaultValue : parseSetting(definition, variable, value);
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
