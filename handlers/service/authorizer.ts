import { HandlerError } from '../../protocol/errors.ts';
import type { ServerSettings } from './server-settings.ts';

/** Who keeps strangers out: tokens of this service, or a platform in front of it. */

type AuthorizerSettings = Pick<ServerSettings, 'apiTokens' | 'authorizer' | 'vertexPort' | 'vertexAuthorizer'>;

interface AuthorizerLog {
  warn(details: object, message: string): void;
}

/** The variable that says that a platform authorizes requests to the server; `undefined` where tokens do. */
function platformVariable({ authorizer, vertexPort, vertexAuthorizer }: AuthorizerSettings): string | undefined {
  if (authorizer === 'platform') return 'BLIP_AUTHORIZER';
  return vertexPort !== undefined && vertexAuthorizer === 'platform' ? 'BLIP_VERTEX_AUTHORIZER' : undefined;
}

/** Whether everyone who reaches the server may ask. */
export function needsNoToken(settings: AuthorizerSettings): boolean {
  return settings.apiTokens.length === 0 && platformVariable(settings) === undefined;
}

/** @throws HandlerError `SETTINGS_INVALID` for tokens that the platform's requests would lack. */
export function requireOneAuthorizer(settings: AuthorizerSettings): void {
  const variable = platformVariable(settings);
  if (variable === undefined || settings.apiTokens.length === 0) return;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected BLIP_API_TOKENS or ${variable}=platform, got both. The platform sends no tokens: unset one.`,
  );
}

/** Says at the start that no request needs a token. */
export function warnOfPlatform(settings: AuthorizerSettings, log: AuthorizerLog): void {
  const variable = platformVariable(settings);
  if (variable !== undefined) warnThatAllMayAsk(variable, log);
}

export function warnThatAllMayAsk(variable: string, log: AuthorizerLog): void {
  log.warn(
    { setting: variable },
    `whoever reaches this service may ask: ${variable}=platform says that a platform in front of it keeps strangers out`,
  );
}
