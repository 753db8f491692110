import { HandlerError } from '../../protocol/errors.ts';
import { requireOneAuthorizer, warnOfPlatform, warnThatAllMayAsk } from '../service/authorizer.ts';
import type { ServerSettings } from '../service/server-settings.ts';

/**
 * Refuses HTTP events until somebody has decided who may ask. API Gateway, load balancers and Function URLs let everyone
 * in by default, and a function cannot see whether they do. So without tokens the settings must say that AWS keeps
 * strangers out.
 * @throws HandlerError `SETTINGS_INVALID`
 */
export function requireAuthorizer({ apiTokens, authorizer, lambdaAuthorizer }: ServerSettings): void {
  if (apiTokens.length > 0 || authorizer === 'platform' || lambdaAuthorizer === 'platform') return;
  throw new HandlerError(
    'SETTINGS_INVALID',
    'Expected BLIP_API_TOKENS, or BLIP_AUTHORIZER=platform (BLIP_LAMBDA_AUTHORIZER) if AWS keeps strangers out, got neither.',
  );
}

/**
 * Checks the settings at the start, and says where no HTTP event needs a token. Beside BLIP_LAMBDA_AUTHORIZER tokens may be
 * set: they are asked for then.
 * @throws HandlerError `SETTINGS_INVALID` for tokens beside BLIP_AUTHORIZER=platform.
 */
export function announceAuthorizer(settings: ServerSettings, log: Parameters<typeof warnOfPlatform>[1]): void {
  requireOneAuthorizer(settings);
  if (settings.authorizer === 'tokens' && settings.apiTokens.length === 0 && settings.lambdaAuthorizer === 'platform')
    warnThatAllMayAsk('BLIP_LAMBDA_AUTHORIZER', log);
  else warnOfPlatform(settings, log);
}
