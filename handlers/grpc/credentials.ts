import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import type { Settings } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';

type TlsSettings = Pick<Settings, 'grpcTlsCert' | 'grpcTlsKey' | 'grpcTlsClientCa'>;

/**
 * Plain text, TLS, or TLS with certificates of clients, as the settings say.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable.
 */
export async function serverCredentials({
  grpcTlsCert,
  grpcTlsKey,
  grpcTlsClientCa,
}: TlsSettings): Promise<ServerCredentials> {
  if (grpcTlsCert === undefined && grpcTlsKey === undefined && grpcTlsClientCa === undefined)
    return ServerCredentials.createInsecure();
  const certPath = required('BLIP_GRPC_TLS_CERT', grpcTlsCert);
  const keyPath = required('BLIP_GRPC_TLS_KEY', grpcTlsKey);
  const [cert, key, clientCa] = await Promise.all([
    readPem('BLIP_GRPC_TLS_CERT', certPath),
    readPem('BLIP_GRPC_TLS_KEY', keyPath),
    grpcTlsClientCa === undefined ? null : readPem('BLIP_GRPC_TLS_CLIENT_CA', grpcTlsClientCa),
  ]);
  requirePair(cert, key);
  if (clientCa !== null) requireCertificates(clientCa);
  return ServerCredentials.createSsl(clientCa, [{ cert_chain: cert, private_key: key }], clientCa !== null);
}

function required(variable: string, path: string | undefined): string {
  if (path !== undefined) return path;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected ${variable} to be set, as another of the BLIP_GRPC_TLS variables is, got none.`,
  );
}

async function readPem(variable: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new HandlerError(
      'SETTINGS_INVALID',
      `Expected ${variable} to be a file that can be read, got another path.`,
      {
        cause,
      },
    );
  }
}

/** grpc-js would find out at the first connection only. */
function requirePair(cert: Buffer, key: Buffer): void {
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const expected = 'a certificate and its private key in PEM';
    throw new HandlerError(
      'SETTINGS_INVALID',
      `Expected BLIP_GRPC_TLS_CERT and BLIP_GRPC_TLS_KEY to be ${expected}, got something else.`,
      { cause },
    );
  }
}

/** One of possibly many in a file of PEM. */
const certificatePattern = /-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----/gs;

/** Node would let no client in, and not say why: it reads PEM only, up to the first certificate that does not parse. */
function requireCertificates(pem: Buffer): void {
  try {
    const certificates = pem.toString('latin1').match(certificatePattern);
    if (certificates === null) throw new RangeError('no certificate begins and ends in the file');
    for (const certificate of certificates) new X509Certificate(certificate);
  } catch (cause) {
    throw new HandlerError(
      'SETTINGS_INVALID',
      'Expected BLIP_GRPC_TLS_CLIENT_CA to be certificates in PEM, got something else.',
      { cause },
    );
  }
}
