import type { Settings } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';

/**
 * API Gateway, load balancers and Function URLs let everyone in unless told otherwise. A function cannot see whether
 * they were, so without tokens it wants to hear it.
 * @throws HandlerError `SETTINGS_INVALID`
 */
export function requireAuthorizer({ apiTokens, lambdaAuthorizer }: Settings): void {
  if (apiTokens.length > 0 || lambdaAuthorizer === 'platform') return;
  throw new HandlerError(
    'SETTINGS_INVALID',
    'Expected BLIP_API_TOKENS to be set, or BLIP_LAMBDA_AUTHORIZER to be platform where AWS keeps strangers out, got neither.',
  );
}
