import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './temporary-folder.ts';

/** Certificates for tests, made by openssl: an authority, a server of 127.0.0.1, a client; and a client of strangers. */

export interface Certificate {
  readonly certPath: string;
  readonly keyPath: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface Certificates {
  readonly authority: Certificate;
  readonly server: Certificate;
  readonly client: Certificate;
  readonly stranger: Certificate;
}

/** Those of one test, in a folder that goes with it. */
export function makeCertificates(): Certificates {
  const folder = temporaryFolder();
  const authority = makeAuthority(folder, 'authority');
  return {
    authority,
    server: makeSigned(folder, 'server', authority),
    client: makeSigned(folder, 'client', authority),
    stranger: makeSigned(folder, 'stranger', makeAuthority(folder, 'strangers')),
  };
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}

function pathsOf(folder: string, name: string): Pick<Certificate, 'certPath' | 'keyPath'> {
  return { certPath: join(folder, `${name}.crt`), keyPath: join(folder, `${name}.key`) };
}

function read(paths: Pick<Certificate, 'certPath' | 'keyPath'>): Certificate {
  return { ...paths, cert: readFileSync(paths.certPath), key: readFileSync(paths.keyPath) };
}

function makeAuthority(folder: string, name: string): Certificate {
  const paths = pathsOf(folder, name);
  const files = ['-keyout', paths.keyPath, '-out', paths.certPath];
  openssl(['req', '-x509', ...newKey, ...files, '-days', '2', '-subj', `/CN=${name}`]);
  return read(paths);
}

function makeSigned(folder: string, name: string, authority: Certificate): Certificate {
  const paths = pathsOf(folder, name);
  const [request, extensions] = [join(folder, `${name}.csr`), join(folder, `${name}.ext`)];
  writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  openssl(['req', ...newKey, '-keyout', paths.keyPath, '-out', request, '-subj', `/CN=${name}`]);
  const signer = ['-CA', authority.certPath, '-CAkey', authority.keyPath, '-CAcreateserial'];
  openssl(['x509', '-req', '-in', request, ...signer, '-out', paths.certPath, '-days', '2', '-extfile', extensions]);
  return read(paths);
}
