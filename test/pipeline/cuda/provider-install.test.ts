import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type InstallOptions, installProvider } from '../../../pipeline/cuda/provider-install.ts';
import { providerFiles } from '../../../pipeline/cuda/runtime-folder.ts';
import { type Route, startServer } from '../../support/loopback-server.ts';
import {
  htmlIndex,
  nugetFeed,
  packageOf,
  providerText,
  pythonIndex,
  runtimeText,
  sendText,
} from '../../support/runtime-packages.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const VERSION = '77.1.0';
const COMMIT = 'abc123def';
const wheel = packageOf('onnxruntime/capi', { commit: COMMIT, cuda: '13' });
const nupkg = packageOf('runtimes/linux-x64/native', { commit: COMMIT, cuda: '12' });
const noProxies = { http: '', https: '', none: '' };

type Routes = Readonly<Record<string, Route>>;

/** Installs from a server with these routes into a folder with a runtime. */
async function install(cuda: '12' | '13', routes: Routes, changes: Partial<InstallOptions> = {}) {
  const folder = changes.folder ?? temporaryFolder({ 'libonnxruntime.so.1': runtimeText(COMMIT) });
  const origin = await startServer(routes);
  const index = new URL(cuda === '13' ? '/simple' : '/v3/index.json', origin);
  const { signal } = new AbortController();
  const fixed = { cuda, version: VERSION, index, folder, proxies: noProxies, signal, retryDelayMs: 1 };
  return { folder, installed: await installProvider({ ...fixed, ...changes }) };
}

function expectProvider(folder: string, cuda: string): void {
  expect(readdirSync(folder).sort()).toEqual(['libonnxruntime.so.1', ...providerFiles].sort());
  expect(readFileSync(join(folder, providerFiles[0]), 'latin1')).toBe(providerText({ cuda }));
  expect(readFileSync(join(folder, providerFiles[1]), 'latin1')).toBe('ELF shared');
}

describe('the provider is installed', () => {
  test.each([
    ['for CUDA 13, from an index in JSON', '13', pythonIndex(VERSION, wheel)],
    ['for CUDA 13, from an index in HTML', '13', htmlIndex(VERSION, wheel)],
    ['for CUDA 12, from NuGet', '12', nugetFeed(VERSION, nupkg)],
  ] as const)('%s', async (_, cuda, routes) => {
    const { folder, installed } = await install(cuda, routes);
    expectProvider(folder, cuda);
    expect(installed).toMatchObject({ isChecked: true, commit: COMMIT, files: providerFiles });
  });

  test('from a feed without a checksum, which is told', async () => {
    const { folder, installed } = await install('12', nugetFeed(VERSION, nupkg, ''));
    expectProvider(folder, '12');
    expect(installed.isChecked).toBe(false);
  });

  test('in place of an older one', async () => {
    const old = { 'libonnxruntime.so.1': runtimeText(COMMIT), [providerFiles[0]]: 'old' };
    const { folder } = await install('13', pythonIndex(VERSION, wheel), { folder: temporaryFolder(old) });
    expectProvider(folder, '13');
  });

  test('after a server that is busy at first', async () => {
    const routes = pythonIndex(VERSION, wheel);
    const path = '/simple/onnxruntime-gpu/';
    let asked = 0;
    const busy: Route = (response, request) => {
      asked += 1;
      if (asked < 3) response.writeHead(503).end();
      else routes[path]?.(response, request);
    };
    expectProvider((await install('13', { ...routes, [path]: busy })).folder, '13');
  });

  test('with the bytes that have come told', async () => {
    const told: [number, number][] = [];
    await install('13', pythonIndex(VERSION, wheel), { onBytes: (...bytes) => told.push(bytes) });
    expect(told.at(-1)).toEqual([wheel.length, wheel.length]);
  });
});

describe('nothing is installed, and the folder stays as it was', () => {
  const other = (text: { readonly commit: string; readonly cuda: string }) => packageOf('onnxruntime/capi', text);
  const half = wheel.subarray(0, wheel.length - 40);

  test.each([
    ['a wrong checksum', '13', pythonIndex(VERSION, wheel, '0'.repeat(64)), /expected sha256 0{64}, got [0-9a-f]{64}/],
    ['a wrong checksum of NuGet', '12', nugetFeed(VERSION, nupkg, 'AAAA'), /expected sha512 000000, got/],
    [
      'another commit',
      '13',
      pythonIndex(VERSION, other({ commit: 'fff', cuda: '13' })),
      /expected onnxruntime of commit abc123def, got fff/,
    ],
    ['another CUDA', '13', pythonIndex(VERSION, other({ commit: COMMIT, cuda: '12' })), /for CUDA 13, got one for 12/],
    [
      'no such version',
      '13',
      pythonIndex('76.0.0', wheel),
      /a wheel of onnxruntime-gpu 77\.1\.0 for Linux x64, got none/,
    ],
    ['half an archive', '13', pythonIndex(VERSION, half), /expected a whole zip archive/],
    ['no index', '13', {}, /expected \/simple\/onnxruntime-gpu\/, got status 404/],
    ['a page in place of a feed', '12', { '/v3/index.json': sendText('<html>', 'text/html') }, /expected JSON/],
  ] as const)('%s', async (_, cuda, routes, message) => {
    const folder = temporaryFolder({ 'libonnxruntime.so.1': runtimeText(COMMIT) });
    await expect(install(cuda, routes, { folder })).rejects.toMatchObject({
      code: 'PROVIDER_INSTALL_FAILED',
      message: expect.stringMatching(message),
    });
    expect(readdirSync(folder)).toEqual(['libonnxruntime.so.1']);
  });

  test('a pinned version takes its own wheel and checksum, whatever the index says', async () => {
    const routes = pythonIndex('1.30.0', wheel);
    await expect(install('13', routes, { version: '1.30.0' })).rejects.toMatchObject({
      message: expect.stringContaining('expected sha256 6acc0f4b3d5ac5f2'),
    });
  });

  test('a folder without a runtime', async () => {
    await expect(install('13', {}, { folder: temporaryFolder() })).rejects.toMatchObject({
      code: 'PROVIDER_INSTALL_FAILED',
      message: expect.stringContaining('libonnxruntime.so.1: expected a library of onnxruntime'),
    });
  });
});

test('a password of the index goes to its origin alone', async () => {
  const asked: (string | undefined)[] = [];
  const routes = pythonIndex(VERSION, wheel);
  const record =
    (route: Route | undefined): Route =>
    (response, request) => {
      asked.push(request.headers.authorization);
      route?.(response, request);
    };
  const path = Object.keys(routes).find((each) => each.startsWith('/files/')) ?? '';
  const files = await startServer({ [path]: record(routes[path]) });
  const redirect: Route = (response) => void response.writeHead(302, { location: `${files}${path}` }).end();
  const origin = await startServer({
    '/simple/onnxruntime-gpu/': record(routes['/simple/onnxruntime-gpu/']),
    [path]: record(redirect),
  });
  const index = new URL('/simple', origin.replace('//', '//me:pass%20word@'));
  const elsewhere = await install('13', {}, { index });
  expectProvider(elsewhere.folder, '13');
  const basic = `Basic ${Buffer.from('me:pass word').toString('base64')}`;
  expect(asked).toEqual([basic, basic, undefined]);
});
