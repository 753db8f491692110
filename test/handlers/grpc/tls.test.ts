import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Certificate, type Certificates, makeCertificates } from '../../support/certificates.ts';
import { grpcClient, startGrpc } from '../../support/grpc.ts';
import { serverTestSettings, type TestSettings } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

let made: Certificates;
beforeEach(() => {
  made = makeCertificates();
});

async function start(changes: Partial<TestSettings>): Promise<(channel: ChannelCredentials) => Promise<unknown>> {
  const grpc = await startGrpc([], serverTestSettings(changes));
  onTestFinished(() => grpc.close());
  return async (channel) => {
    const client = grpcClient(grpc.port, channel);
    onTestFinished(() => client.close());
    return await client.call('ServerLive', {}, { deadlineMs: 10_000 });
  };
}

const serverFiles = () => ({ grpcTlsCert: made.server.certPath, grpcTlsKey: made.server.keyPath });
const shown = ({ cert, key }: Certificate) => credentials.createSsl(made.authority.cert, key, cert);
const UNAVAILABLE = { code: 14 };

test('TLS: clients that trust the authority are answered; others and plain text are not', async () => {
  const ask = await start(serverFiles());
  expect(await ask(credentials.createSsl(made.authority.cert))).toEqual({ live: true });
  await expect(ask(credentials.createSsl(made.stranger.cert))).rejects.toMatchObject(UNAVAILABLE);
  await expect(ask(credentials.createInsecure())).rejects.toMatchObject(UNAVAILABLE);
});

test('mTLS: clients must show a certificate of the authority', async () => {
  const ask = await start({ ...serverFiles(), grpcTlsClientCa: made.authority.certPath });
  expect(await ask(shown(made.client))).toEqual({ live: true });
  await expect(ask(shown(made.stranger))).rejects.toMatchObject(UNAVAILABLE);
  await expect(ask(credentials.createSsl(made.authority.cert))).rejects.toMatchObject(UNAVAILABLE);
});

test('mTLS: a file may have several authorities', async () => {
  const path = join(temporaryFolder(), 'authorities.pem');
  writeFileSync(path, Buffer.concat([made.stranger.cert, made.authority.cert]));
  const ask = await start({ ...serverFiles(), grpcTlsClientCa: path });
  expect(await ask(shown(made.client))).toEqual({ live: true });
});

describe('settings that cannot be', () => {
  const missing = () => join(temporaryFolder(), 'missing.pem');
  const fileOf = (content: string | Uint8Array) => {
    const path = join(temporaryFolder(), 'file.pem');
    writeFileSync(path, content);
    return path;
  };
  const noPem = () => fileOf('no certificate');
  const der = () => fileOf(new X509Certificate(made.authority.cert).raw);
  const secondBroken = () => {
    const [, ...lines] = made.stranger.cert.toString().split('\n');
    return fileOf([made.authority.cert, '-----BEGIN CERTIFICATE-----', 'AAAA', ...lines].join('\n'));
  };

  test.each<[string, () => Partial<TestSettings>, RegExp]>([
    ['a certificate without its key', () => ({ grpcTlsCert: made.server.certPath }), /BLIP_GRPC_TLS_KEY to be set/],
    ['a key without its certificate', () => ({ grpcTlsKey: made.server.keyPath }), /BLIP_GRPC_TLS_CERT to be set/],
    // Both are wrong, and what is not waited for must not end the process later.
    [
      'a certificate that is not there, without its key',
      () => ({ grpcTlsCert: missing() }),
      /BLIP_GRPC_TLS_KEY to be set/,
    ],
    ['authorities alone', () => ({ grpcTlsClientCa: made.authority.certPath }), /BLIP_GRPC_TLS_CERT to be set/],
    [
      'a file that is not there',
      () => ({ ...serverFiles(), grpcTlsCert: missing() }),
      /BLIP_GRPC_TLS_CERT to be the path of a readable file/,
    ],
    [
      'authorities that are not there',
      () => ({ ...serverFiles(), grpcTlsClientCa: missing() }),
      /TLS_CLIENT_CA to be the path of a readable file/,
    ],
    ['a file that is no certificate', () => ({ ...serverFiles(), grpcTlsCert: noPem() }), /in PEM/],
    [
      'authorities that are none',
      () => ({ ...serverFiles(), grpcTlsClientCa: noPem() }),
      /CLIENT_CA to be certificates in PEM/,
    ],
    ['authorities in DER', () => ({ ...serverFiles(), grpcTlsClientCa: der() }), /CLIENT_CA to be certificates in PEM/],
    [
      'authorities of which the second is broken',
      () => ({ ...serverFiles(), grpcTlsClientCa: secondBroken() }),
      /CLIENT_CA to be certificates in PEM/,
    ],
    ['the key of another', () => ({ ...serverFiles(), grpcTlsKey: made.client.keyPath }), /in PEM/],
  ])('%s', async (_what, changes, words) => {
    const started = startGrpc([], serverTestSettings(changes()));
    await expect(started).rejects.toMatchObject({ code: 'SETTINGS_INVALID', message: expect.stringMatching(words) });
  });
});
