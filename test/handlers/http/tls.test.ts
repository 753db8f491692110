import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import tls, { type ConnectionOptions } from 'node:tls';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import Handler from '../../../app.ts';
import { createServer, type HttpServer } from '../../../handlers/http/server.ts';
import { readTlsFiles } from '../../../handlers/service/tls-files.ts';
import { type Certificate, type Certificates, makeCertificates } from '../../support/certificates.ts';
import { modelSettingsOf, serverTestSettings } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

let made: Certificates;
beforeEach(() => {
  made = makeCertificates();
});

const read = (cert: string | undefined, key: string | undefined, clientCa?: string) =>
  readTlsFiles({ prefix: 'BLIP_TLS', cert, key, clientCa });
const readServerFiles = (clientCa?: string) => read(made.server.certPath, made.server.keyPath, clientCa);

async function start(clientCa?: string): Promise<{ readonly server: HttpServer; readonly port: number }> {
  const settings = serverTestSettings();
  const server = createServer(
    [new Handler(modelSettingsOf(settings))],
    settings,
    undefined,
    undefined,
    await readServerFiles(clientCa),
  );
  onTestFinished(async () => await server.close());
  await server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.server.address() as AddressInfo; // It listens on a port.
  return { server, port };
}

function get(port: number, options: ConnectionOptions, path = '/v2/health/live'): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const request = https.get({ ...options, host: '127.0.0.1', port, path, agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode));
    });
    request.once('error', reject);
  });
}

const shown = ({ cert, key }: Certificate) => ({ ca: made.authority.cert, cert, key });

test('clients that trust the authority are answered; others and plain text are not', async () => {
  const { port } = await start();
  expect(await get(port, { ca: made.authority.cert })).toBe(200);
  await expect(get(port, { ca: made.stranger.cert })).rejects.toThrow();
  const plain = net.connect(port, '127.0.0.1').on('error', () => undefined);
  const chunks: Buffer[] = [];
  plain.on('data', (chunk: Buffer) => chunks.push(chunk)).write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await once(plain, 'close');
  expect(Buffer.concat(chunks).toString('latin1')).not.toMatch(/200/);
});

test('clients must show a certificate of the authority where the settings name one', async () => {
  const { port } = await start(made.authority.certPath);
  expect(await get(port, shown(made.client))).toBe(200);
  await expect(get(port, shown(made.stranger))).rejects.toThrow();
  await expect(get(port, { ca: made.authority.cert })).rejects.toThrow();
});

test('requests that are sent ahead are answered in turn, and too many end the connection', async () => {
  const { port } = await start();
  const request = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const socket = tls.connect({ host: '127.0.0.1', port, ca: made.authority.cert }).on('error', () => undefined);
  await once(socket, 'secureConnect');
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  socket.write(request.repeat(20));
  await expect.poll(() => text.match(/HTTP\/1\.1 200/g)?.length).toBe(20);
  socket.write(request.repeat(2_000));
  await new Promise((resolve) => socket.once('close', resolve));
});

test('a draining server answers what it has, and closes idle connections', async () => {
  const { server, port } = await start();
  const idle = tls.connect({ host: '127.0.0.1', port, ca: made.authority.cert }).on('error', () => undefined);
  await once(idle, 'secureConnect');
  await server.draining.drain(0);
  await expect.poll(() => idle.destroyed).toBe(true);
});

describe('settings that cannot be used are refused, by the name of their variable', () => {
  test.each<[string, () => Promise<unknown>, RegExp]>([
    ['a certificate without its key', () => read(made.server.certPath, undefined), /BLIP_TLS_KEY/],
    ['a key without its certificate', () => read(undefined, made.server.keyPath), /BLIP_TLS_CERT/],
    ['authorities alone', () => read(undefined, undefined, made.authority.certPath), /BLIP_TLS_CERT/],
    ['a file that does not exist', () => read('/nothing.crt', made.server.keyPath), /BLIP_TLS_CERT/],
    ['the key of another', () => read(made.server.certPath, made.client.keyPath), /BLIP_TLS_CERT and BLIP_TLS_KEY/],
    ['authorities that are none', () => readServerFiles(noCertificates()), /BLIP_TLS_CLIENT_CA/],
  ])('%s', async (_title, readFiles, message) => {
    await expect(readFiles()).rejects.toMatchObject({
      code: 'SETTINGS_INVALID',
      message: expect.stringMatching(message),
    });
  });
});

function noCertificates(): string {
  const path = join(temporaryFolder(), 'authorities.pem');
  writeFileSync(path, 'no certificates');
  return path;
}
