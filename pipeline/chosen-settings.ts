import { isDeepStrictEqual } from 'node:util';
import { HandlerError } from '../protocol/errors.ts';
import { suggestion } from '../protocol/known-names.ts';
import type { SettingDefinition, SettingDefinitions } from './setting-definitions.ts';

/** Settings that a program chooses in code. JavaScript has no types, so names and values are checked. */

const MAX_REPEATED_CHARACTERS = 100;

/**
 * Checks settings by the definitions of their variables. `undefined` means that a setting is left out, except where it is
 * a value of that setting, such as "no limit".
 * @returns the settings that are not left out.
 * @throws HandlerError `SETTINGS_INVALID`, naming the setting.
 */
export function checkChosen<Settings extends object>(
  definitions: SettingDefinitions<Settings>,
  chosen: Partial<Settings>,
): Partial<Settings> {
  requireRecord(chosen);
  const unknownName = Object.keys(chosen).find((name) => !Object.hasOwn(definitions, name));
  if (unknownName !== undefined)
    throw invalid(`Expected names of settings, got ${unknownName}`, unknownName, definitions);
  const names = Object.keys(chosen) as (keyof Settings)[]; // The line above lets no other name through.
  const entries = names.filter((name) => !isLeftOut(definitions[name], chosen[name]));
  for (const name of entries) requireValid(String(name), definitions[name], chosen[name]);
  return Object.fromEntries(entries.map((name) => [name, chosen[name]])) as Partial<Settings>; // Entries of `chosen`.
}

function requireRecord(chosen: unknown): void {
  if (typeof chosen === 'object' && chosen !== null && !Array.isArray(chosen)) return;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected an object of settings, such as { checkpoint: 'OWNER/NAME' }, got ${shown(chosen)}.`,
  );
}

function invalid(problem: string, name: string, definitions: object): HandlerError {
  return new HandlerError('SETTINGS_INVALID', `${problem}${suggestion(name, Object.keys(definitions))}`);
}

function isLeftOut({ defaultValue }: SettingDefinition<unknown>, value: unknown): boolean {
  return value === undefined && defaultValue !== undefined;
}

function requireValid(name: string, definition: SettingDefinition<unknown>, value: unknown): void {
  const { defaultValue, expected } = definition;
  const isValid = isDeepStrictEqual(value, defaultValue) || isDeepStrictEqual(parsed(definition, value), value);
  if (isValid && value !== '') return;
  const kind = Array.isArray(defaultValue) ? `an array with ${expected.replace(' separated by commas', '')}` : expected;
  throw new HandlerError('SETTINGS_INVALID', `Expected the setting ${name} to be ${kind}, got ${shown(value)}.`);
}

/** The value that its text in a variable would have; `undefined` where no text has it. */
function parsed({ parse }: SettingDefinition<unknown>, value: unknown): unknown {
  const isOfText = ['string', 'number', 'boolean'].includes(typeof value) || Array.isArray(value);
  return isOfText ? parse(String(value)) : undefined;
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : Array.isArray(value) ? `[${value}]` : String(value);
  return text.length > MAX_REPEATED_CHARACTERS ? `${text.slice(0, MAX_REPEATED_CHARACTERS)}…` : text;
}
