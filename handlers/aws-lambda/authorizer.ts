import { HandlerError } from '../../protocol/errors.ts';
import type { ServerSettings } from '../service/server-settings.ts';

/**
 * Refuses HTTP events until somebody has decided who may ask. API Gateway, load balancers and Function URLs let everyone
 * in by default, and a function cannot see whether they do. So without tokens the settings must say that AWS keeps
 * strangers out.
 * @throws HandlerError `SETTINGS_INVALID`
 */
export function requireAuthorizer({ apiTokens, lambdaAuthorizer }: ServerSettings): void {
  if (apiTokens.length > 0 || lambdaAuthorizer === 'platform') return;
  throw new HandlerError(
    'SETTINGS_INVALID',
    'Expected BLIP_API_TOKENS, or BLIP_LAMBDA_AUTHORIZER=platform if AWS keeps strangers out, got neither.',
  );
}
