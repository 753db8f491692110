import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { HandlerError } from '../../protocol/errors.ts';

/** The settings of one server's TLS, by the names of their variables. */
export interface TlsPaths {
  /** Begins the names of all variables: `BLIP_TLS`. */
  readonly prefix: string;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** `undefined` where clients need no certificates. */
  readonly clientCa: string | undefined;
}

/** The certificate that a server shows, its key, and the authorities that it trusts, in PEM. */
export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** `undefined` where clients need no certificates. */
  readonly clientCa: Buffer | undefined;
}

/**
 * Reads the files of a server's TLS once, when it starts.
 * @returns `undefined` where no variable is set: the server has no TLS.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable.
 */
export async function readTlsFiles({ prefix, cert, key, clientCa }: TlsPaths): Promise<TlsFiles | undefined> {
  if (cert === undefined && key === undefined && clientCa === undefined) return undefined;
  const certPath = required(prefix, 'CERT', cert);
  const keyPath = required(prefix, 'KEY', key);
  const [certPem, keyPem, clientCaPem] = await Promise.all([
    readPem(`${prefix}_CERT`, certPath),
    readPem(`${prefix}_KEY`, keyPath),
    clientCa === undefined ? undefined : readPem(`${prefix}_CLIENT_CA`, clientCa),
  ]);
  requirePair(prefix, certPem, keyPem);
  if (clientCaPem !== undefined) requireCertificates(`${prefix}_CLIENT_CA`, clientCaPem);
  return { cert: certPem, key: keyPem, clientCa: clientCaPem };
}

function required(prefix: string, name: string, path: string | undefined): string {
  if (path !== undefined) return path;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected ${prefix}_${name} to be set, because another ${prefix} variable is, got none.`,
  );
}

async function readPem(variable: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const message = `Expected ${variable} to be the path of a readable file, got another path.`;
    throw new HandlerError('SETTINGS_INVALID', message, { cause });
  }
}

/** Checks at the start what servers would notice at the first connection only. */
function requirePair(prefix: string, cert: Buffer, key: Buffer): void {
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const expected = 'a certificate and its private key in PEM';
    throw new HandlerError(
      'SETTINGS_INVALID',
      `Expected ${prefix}_CERT and ${prefix}_KEY to be ${expected}, got something else.`,
      { cause },
    );
  }
}

/** One certificate of a PEM file, which may hold several. */
const certificatePattern = /-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----/gs;

/** Node stops reading at the first certificate that does not parse, and would then let no client in without a message. */
function requireCertificates(variable: string, pem: Buffer): void {
  try {
    const certificates = pem.toString('latin1').match(certificatePattern);
    if (certificates === null) throw new RangeError('no certificate begins and ends in the file');
    for (const certificate of certificates) new X509Certificate(certificate);
  } catch (cause) {
    const message = `Expected ${variable} to be certificates in PEM, got something else.`;
    throw new HandlerError('SETTINGS_INVALID', message, { cause });
  }
}
