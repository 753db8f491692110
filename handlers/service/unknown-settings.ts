import type { EnvironmentVariables, SettingDefinition } from '../../pipeline/setting-definitions.ts';
import { settingDefinitions } from '../../pipeline/settings.ts';
import { suggestion } from '../../protocol/known-names.ts';
import { serverSettingDefinitions } from './server-settings.ts';

/** Kubernetes and Docker set these for a service that is called `blip`. */
const serviceLinks = /^BLIP_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w+)?$|^BLIP_(?:NAME|ENV_\w+)$/;
/** A port, which they do not write alone under this name: it is `tcp://ADDRESS:PORT` there. */
const port = { variable: 'BLIP_PORT', pattern: /^\s*\d+\s*$/ };
/** How the names of settings begin, but for those that platforms give: `PORT`, `HOST`, `LOG_LEVEL`. */
const prefix = /^BLIP_/i;

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

/** The part of a message that says which setting is meant. */
function meantSetting(variable: string, known: readonly string[]): string {
  const withoutPrefix = variable.replace(prefix, '').toUpperCase();
  return suggestion(known.includes(withoutPrefix) ? withoutPrefix : variable, known);
}

function knownVariables(): readonly string[] {
  const model = settingDefinitions({ checkpoint: '', threadsPerWorker: 1 });
  const definitions: readonly SettingDefinition<unknown>[] = [
    ...Object.values(model),
    ...Object.values(serverSettingDefinitions),
  ];
  return definitions.map(({ variable }) => variable);
}
