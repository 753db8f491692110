import type { EnvironmentVariables, SettingDefinition } from '../../pipeline/setting-definitions.ts';
import { anySettingDefinitions } from '../../pipeline/settings.ts';
import { meantName } from '../../protocol/known-names.ts';
import { serverSettingDefinitions } from './server-settings.ts';

/** Kubernetes and Docker set these for a service that is called `blip`. */
const serviceLinks = /^BLIP_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w+)?$|^BLIP_(?:NAME|ENV_\w+)$/;
/** A port, which they do not write alone under this name: it is `tcp://ADDRESS:PORT` there. */
const port = { variable: 'BLIP_PORT', pattern: /^\s*\d+\s*$/ };
/** How the names of settings begin, but for those that platforms give: `PORT`, `HOST`, `LOG_LEVEL`. */
const prefix = /^BLIP_/i;
/** More names than this say nothing. */
const MAX_NAMED = 2;

interface SettingsLog {
  warn(details: object, message: string): void;
}

/** Warns of variables that look like settings and are none: a misspelt one would be ignored without a word. */
export function warnUnknownSettings(environment: EnvironmentVariables, log: SettingsLog): void {
  const known = knownVariables();
  for (const variable of unknownSettings(environment, known)) {
    const message = `this variable is no setting${meantSetting(variable, known)}`;
    log.warn({ variable }, `${message} docs/reference/settings.md has the names.`);
  }
}

/** The names of variables that begin as settings do, and that nothing reads. */
function unknownSettings(environment: EnvironmentVariables, known: readonly string[]): readonly string[] {
  return Object.entries(environment)
    .filter(
      ([variable, value]) => prefix.test(variable) && !known.includes(variable) && !isServiceLink(variable, value),
    )
    .map(([variable]) => variable);
}

function isServiceLink(variable: string, value = ''): boolean {
  return serviceLinks.test(variable) && !(variable === port.variable && port.pattern.test(value));
}

/** The end of a sentence that says which setting is meant. Names are compared without the prefix, which most have. */
function meantSetting(variable: string, known: readonly string[]): string {
  const name = variable.replace(prefix, '').toUpperCase();
  const settings = new Map(known.map((setting) => [setting.replace(prefix, ''), setting]));
  const near = meantName(name, [...settings.keys()]);
  const meant = near === undefined ? shortestWith(wordsOf(name), [...settings.keys()]) : [near];
  if (meant.length === 0 || meant.length > MAX_NAMED) return '.';
  return `: did you mean ${meant.map((each) => settings.get(each)).join(' or ')}?`;
}

/** The names that have all of these words and the fewest others: `TOKEN` is short for `API_TOKENS`. */
function shortestWith(words: readonly string[], names: readonly string[]): readonly string[] {
  const having = names.filter((name) => words.every((word) => wordsOf(name).includes(word)));
  const fewest = Math.min(...having.map((name) => wordsOf(name).length));
  return having.filter((name) => wordsOf(name).length === fewest);
}

/** The words of a name, in the singular. */
function wordsOf(name: string): readonly string[] {
  return name.split('_').map((word) => word.replace(/S$/, ''));
}

function knownVariables(): readonly string[] {
  const model = anySettingDefinitions();
  const definitions: readonly SettingDefinition<unknown>[] = [
    ...Object.values(model),
    ...Object.values(serverSettingDefinitions),
  ];
  return definitions.map(({ variable }) => variable);
}
