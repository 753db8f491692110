import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import type { Route } from './loopback-server.ts';
import { integers } from './pickle-bytes.ts';
import { zipEnd } from './zip-file.ts';

/** Packages that have the same files as those of onnxruntime for CUDA, in small, and registries that serve them. */

const DEFLATED = 8;

/** A zip archive with compressed files, as wheels and NuGet packages are. */
export function deflatedZip(files: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  const entries: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const nameBytes = Buffer.from(name);
    const stored = deflateRawSync(Buffer.from(text, 'latin1'));
    const sizes = [0, stored.length, text.length] as const;
    const header = integers('4 2 2 2 4 4 4 4 2 2', 0x04034b50, 20, 0, DEFLATED, 0, ...sizes, nameBytes.length);
    const fields = integers('4 2 2 2 2 4 4 4 4', 0x02014b50, 20, 20, 0, DEFLATED, 0, ...sizes);
    entries.push(fields, integers('2 2 2 2 2 4 4', nameBytes.length, 0, 0, 0, 0, 0, offset), nameBytes);
    parts.push(header, nameBytes, stored);
    offset += header.length + nameBytes.length + stored.length;
  }
  const directory = Buffer.concat(entries);
  return Buffer.concat([...parts, directory, zipEnd(Object.keys(files).length, directory.length, offset)]);
}

/** The text of a library that says the commit which it is built from. */
export function runtimeText(commit: string): string {
  return `ELF ORT Build Info: git-branch=main, git-commit-id=${commit}, build type=Release`;
}

export interface PackageText {
  readonly commit: string;
  readonly cuda: string;
}

export function providerText({ cuda }: Pick<PackageText, 'cuda'>): string {
  return `ELF provider libcudart.so.${cuda}\0libcuda.so.1\0`;
}

/** The files of onnxruntime's package below a folder of its archive. */
export function packageOf(folder: string, { commit, cuda }: PackageText): Buffer {
  return deflatedZip({
    [`${folder}/libonnxruntime.so.1.30.0`]: runtimeText(commit),
    [`${folder}/libonnxruntime_providers_cuda.so`]: providerText({ cuda }),
    [`${folder}/libonnxruntime_providers_shared.so`]: 'ELF shared',
  });
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export const sendBytes =
  (bytes: Uint8Array): Route =>
  (response) =>
    void response.writeHead(200, { 'content-length': bytes.length }).end(bytes);

export const sendText =
  (text: string, type: string): Route =>
  (response) =>
    void response.writeHead(200, { 'content-type': type }).end(text);

const wheelName = (version: string) => `onnxruntime_gpu-${version}-cp312-cp312-manylinux_2_28_x86_64.whl`;

/** PyPI's simple index, as JSON. */
export function pythonIndex(version: string, wheel: Uint8Array, hex = sha256(wheel)): Readonly<Record<string, Route>> {
  const others = [wheelName('0.0.1'), `onnxruntime_gpu-${version}-cp312-cp312-win_amd64.whl`];
  const files = [...others, wheelName(version)].map((filename) => ({
    filename,
    url: `../../files/${filename}`,
    hashes: { sha256: hex },
  }));
  return {
    '/simple/onnxruntime-gpu/': sendText(JSON.stringify({ files }), 'application/vnd.pypi.simple.v1+json'),
    [`/files/${wheelName(version)}`]: sendBytes(wheel),
  };
}

/** The index as mirrors have it. */
export function htmlIndex(version: string, wheel: Uint8Array): Readonly<Record<string, Route>> {
  const name = wheelName(version);
  const link = `<a href="/files/${name}#sha256=${sha256(wheel)}" data-requires-python="&gt;=3.10">${name}</a><br/>`;
  return {
    '/simple/onnxruntime-gpu/': sendText(`<!DOCTYPE html><html><body>${link}</body></html>`, 'text/html'),
    [`/files/${name}`]: sendBytes(wheel),
  };
}

const NUGET = 'microsoft.ml.onnxruntime.gpu.linux';

/** A feed of NuGet, whose catalog has the checksum. */
export function nugetFeed(version: string, nupkg: Uint8Array, hash?: string): Readonly<Record<string, Route>> {
  const json = (value: object) => sendText(JSON.stringify(value), 'application/json');
  const packageHash = hash ?? createHash('sha512').update(nupkg).digest('base64');
  const registrations = { '@id': '/registration', '@type': 'RegistrationsBaseUrl/3.6.0' };
  const content = { '@id': '/content/', '@type': 'PackageBaseAddress/3.0.0' };
  return {
    '/v3/index.json': json({ resources: hash === '' ? [content] : [registrations, content] }),
    [`/registration/${NUGET}/${version}.json`]: json({ catalogEntry: '/catalog/entry.json' }),
    '/catalog/entry.json': json({ packageHash, packageHashAlgorithm: 'SHA512' }),
    [`/content/${NUGET}/${version}/${NUGET}.${version}.nupkg`]: sendBytes(nupkg),
  };
}
