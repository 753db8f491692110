import { ServerCredentials } from '@grpc/grpc-js';
import type { ServerSettings } from '../service/server-settings.ts';
import { readTlsFiles } from '../service/tls-files.ts';

type TlsSettings = Pick<ServerSettings, 'grpcTlsCert' | 'grpcTlsKey' | 'grpcTlsClientCa'>;

/**
 * The credentials that the settings ask for: plain text, TLS, or TLS that requires certificates of clients.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable.
 */
export async function serverCredentials({
  grpcTlsCert: cert,
  grpcTlsKey: key,
  grpcTlsClientCa: clientCa,
}: TlsSettings): Promise<ServerCredentials> {
  const files = await readTlsFiles({ prefix: 'BLIP_GRPC_TLS', cert, key, clientCa });
  if (files === undefined) return ServerCredentials.createInsecure();
  const authorities = files.clientCa ?? null;
  return ServerCredentials.createSsl(
    authorities,
    [{ cert_chain: files.cert, private_key: files.key }],
    authorities !== null,
  );
}
