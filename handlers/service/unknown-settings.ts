import type { EnvironmentVariables, SettingDefinition } from '../../pipeline/setting-definitions.ts';
import { settingDefinitions } from '../../pipeline/settings.ts';
import { serverSettingDefinitions } from './server-settings.ts';

/** Kubernetes and Docker set these for a service that is called `blip`. */
const serviceLinks = /^BLIP_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w+)?$|^BLIP_(?:NAME|ENV_\w+)$/;

interface SettingsLog {
  warn(details: object, message: string): void;
}

/** Warns of variables that look like settings and are none: a misspelt one would be ignored without a word. */
export function warnUnknownSettings(environment: EnvironmentVariables, log: SettingsLog): void {
  for (const variable of unknownSettings(environment)) {
    log.warn({ variable }, 'this variable is no setting: see docs/reference/settings.md for the names');
  }
}

/** The names of variables that begin as settings do, and that nothing reads. */
export function unknownSettings(environment: EnvironmentVariables): readonly string[] {
  const known = knownVariables();
  return Object.keys(environment).filter(
    (variable) => /^BLIP_/i.test(variable) && !known.has(variable) && !serviceLinks.test(variable),
  );
}

function knownVariables(): ReadonlySet<string> {
  const model = settingDefinitions({ checkpoint: '', threadsPerWorker: 1 });
  const definitions: readonly SettingDefinition<unknown>[] = [
    ...Object.values(model),
    ...Object.values(serverSettingDefinitions),
  ];
  return new Set(definitions.map(({ variable }) => variable));
}
