import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import { HandlerError } from '../../protocol/errors.ts';
import type { ServerSettings } from '../service/server-settings.ts';

type TlsSettings = Pick<ServerSettings, 'grpcTlsCert' | 'grpcTlsKey' | 'grpcTlsClientCa'>;

/**
 * The credentials that the settings ask for: plain text, TLS, or TLS that requires certificates of clients.
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
    `Expected ${variable} to be set, because another BLIP_GRPC_TLS variable is, got none.`,
  );
}

async function readPem(variable: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new HandlerError(
      'SETTINGS_INVALID',
      `Expected ${variable} to be the path of a readable file, got another path.`,
      {
        cause,
      },
    );
  }
}

/** Checks at the start what grpc-js would notice at the first connection only. */
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

/** One certificate of a PEM file, which may hold several. */
const certificatePattern = /-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----/gs;

/** Node stops reading at the first certificate that does not parse, and would then let no client in without a message. */
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
