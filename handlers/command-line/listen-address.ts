import { HandlerError } from '../../protocol/errors.ts';
import { needsNoToken } from '../service/authorizer.ts';
import type { ServerSettings } from '../service/server-settings.ts';

const LOOPBACK = '127.0.0.1';
const loopbackHosts = [LOOPBACK, 'localhost', '::1'];

/**
 * The address to listen on. It is open to other machines only where tokens or a platform keep strangers out.
 * @throws HandlerError `SETTINGS_INVALID` when other machines could ask without a token.
 */
export function listenAddress(settings: ServerSettings): string {
  const { host } = settings;
  if (!needsNoToken(settings)) return host ?? '0.0.0.0';
  if (host === undefined || loopbackHosts.includes(host)) return host ?? LOOPBACK;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected BLIP_API_TOKENS to be set when HOST is not loopback, got none for HOST ${host}. ` +
      'Set them, or BLIP_AUTHORIZER=platform where a platform keeps strangers out.',
  );
}

/** The address to listen on for gRPC. Vertex AI does not guard it. */
export function grpcAddress(settings: ServerSettings): string {
  return listenAddress({ ...settings, vertexPort: undefined });
}
