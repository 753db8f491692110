import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { HubLimits } from '../../checkpoint/hub/attempts.ts';
import type { Environment } from '../../checkpoint/hub/hub-settings.ts';
import { temporaryFolder } from './temporary-folder.ts';

/**
 * A Hub on loopback with the routes that @huggingface/hub and huggingface_hub ask. A second server plays the network's
 * edge, which large files are redirected to. Tests put faults in the way of requests.
 */

export const MODEL = 'Owner/Some-Model';
export const COMMIT = 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00';
export const OTHER_COMMIT = 'decade00decade00decade00decade00decade00';

export type Files = Readonly<Record<string, Uint8Array>>;

export interface HubRequest {
  readonly server: 'hub' | 'edge';
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/** Answers in place of the server, or lets it answer. */
export type Fault = (response: ServerResponse, answer: () => void, request: IncomingMessage) => void;

export interface HubServer {
  readonly url: string;
  readonly edgeUrl: string;
  /** All requests until now. */
  readonly requests: HubRequest[];
  /** The next requests whose path contains this text meet these faults, one each. */
  fail(text: string, ...faults: readonly Fault[]): void;
  /** Replaces the files of a commit. */
  setFiles(commit: string, files: Files): void;
  setRevision(revision: string, commit: string): void;
}

/** Patient enough for a busy machine, and quick where waiting is the test. */
export const quickLimits: HubLimits = {
  connectTimeoutMs: 2_000,
  stallTimeoutMs: 800,
  attempts: 3,
  retryDelayMs: 2,
  longestRetryAfterMs: 3_000,
  abandonedAfterMs: 60_000,
};

const fixtures = fileURLToPath(new URL('../fixtures/checkpoints/', import.meta.url));

type HubFixture = 'narrow-vision' | 'sharded-float16' | 'untied-bfloat16' | 'instructblip-t5';

/** The files of a checkpoint by their paths. */
export function fixtureFiles(name: HubFixture): Files {
  const folder = join(fixtures, name);
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const files = paths.filter((path) => statSync(join(folder, path)).isFile());
  return Object.fromEntries(files.map((path) => [path, readFileSync(join(folder, path))]));
}

/** An environment with a Hub and an empty home, and nothing of the one that the tests run in. */
export function hubEnvironment(hub: Pick<HubServer, 'url'>, variables: Environment = {}): Environment {
  return { HF_ENDPOINT: hub.url, HF_HOME: join(temporaryFolder(), 'home'), ...variables };
}

/** Starts both servers; they close when the test ends. */
export async function startHub(files: Files = fixtureFiles('narrow-vision')): Promise<HubServer> {
  const requests: HubRequest[] = [];
  const faults: { readonly text: string; readonly fault: Fault }[] = [];
  const commits = new Map([[COMMIT, files]]);
  const revisions = new Map([['main', COMMIT]]);

  const listener =
    (server: HubRequest['server'], answer: RequestListener): RequestListener =>
    (request, response) => {
      const { method = '', url: path = '', headers } = request;
      requests.push({ server, method, path, headers: { ...headers } });
      const index = faults.findIndex(({ text }) => path.includes(text));
      const [found] = index === -1 ? [] : faults.splice(index, 1);
      if (found === undefined) answer(request, response);
      else found.fault(response, () => answer(request, response), request);
    };

  const edgeUrl = await listen(
    listener('edge', (request, response) => {
      const content = [...commits.values()].flatMap(Object.values).find((bytes) => request.url === `/${sha256(bytes)}`);
      if (content === undefined) response.writeHead(404).end();
      else sendBytes(request, response, content, {});
    }),
  );
  const url = await listen(
    listener('hub', (request, response) => answerAsHub(request, response, { commits, revisions, edgeUrl })),
  );
  return {
    url,
    edgeUrl,
    requests,
    fail: (text, ...added) => faults.push(...added.map((fault) => ({ text, fault }))),
    setFiles: (commit, changed) => commits.set(commit, changed),
    setRevision: (revision, commit) => revisions.set(revision, commit),
  };
}

interface HubContent {
  readonly commits: ReadonlyMap<string, Files>;
  readonly revisions: ReadonlyMap<string, string>;
  readonly edgeUrl: string;
}

function answerAsHub(request: IncomingMessage, response: ServerResponse, content: HubContent): void {
  const path = (request.url ?? '').split('?')[0] ?? '';
  const [start = '', rest = ''] = path.split(`${MODEL}/`);
  const [route, encodedRevision = '', ...fileParts] = rest.split('/');
  const revision = decodeURIComponent(encodedRevision);
  const commit = content.revisions.get(revision) ?? revision;
  const files = content.commits.get(commit);
  const file = files?.[decodeURIComponent(fileParts.join('/'))];
  if (rest === '') refuse(response, 404, 'RepoNotFound');
  else if (files === undefined) refuse(response, 404, 'RevisionNotFound');
  else if (start === '/api/models/')
    sendJson(response, route === 'tree' ? tree(files, fileParts.join('/')) : info(commit, files));
  else if (file === undefined) refuse(response, 404, 'EntryNotFound', { 'x-repo-commit': commit });
  else sendFile(request, response, file, commit, content.edgeUrl);
}

function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: Uint8Array,
  commit: string,
  edgeUrl: string,
): void {
  if (!isLarge(file)) {
    sendBytes(request, response, file, { etag: `"${gitBlobSha1(file)}"`, 'x-repo-commit': commit });
    return;
  }
  response.writeHead(302, {
    location: `${edgeUrl}/${sha256(file)}`,
    'x-repo-commit': commit,
    'x-linked-etag': `"${sha256(file)}"`,
    'x-linked-size': file.length,
  });
  response.end('Found. Redirecting');
}

/** The bytes, or the part that a Range asks for. */
export function sendBytes(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Uint8Array,
  headers: Readonly<Record<string, string>>,
): void {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const start = Number(first ?? 0);
  const part = bytes.subarray(start, last === undefined || last === '' ? undefined : Number(last) + 1);
  response.writeHead(first === undefined ? 200 : 206, {
    ...headers,
    'accept-ranges': 'bytes',
    'content-length': part.length,
    ...(first === undefined ? {} : { 'content-range': `bytes ${start}-${start + part.length - 1}/${bytes.length}` }),
  });
  response.end(request.method === 'HEAD' ? undefined : part);
}

function info(commit: string, files: Files): object {
  const siblings = Object.keys(files).map((rfilename) => ({ rfilename }));
  return {
    _id: '0123456789abcdef01234567',
    id: MODEL,
    modelId: MODEL,
    sha: commit,
    private: false,
    gated: false,
    downloads: 0,
    likes: 0,
    tags: [],
    lastModified: '2026-01-01T00:00:00.000Z',
    siblings,
  };
}

/** The files and folders in a folder. As on the Hub, `oid` of a large file is that of its pointer. */
function tree(files: Files, folder: string): object {
  const start = folder === '' ? '' : `${folder}/`;
  const inFolder = Object.entries(files).filter(([path]) => path.startsWith(start));
  const isNested = (path: string) => path.slice(start.length).includes('/');
  const folders = inFolder.filter(([path]) => isNested(path)).map(([path]) => path.slice(0, path.lastIndexOf('/')));
  return [
    ...[...new Set(folders)].map((path) => ({ type: 'directory', path, size: 0, oid: COMMIT })),
    ...inFolder.filter(([path]) => !isNested(path)).map(([path, bytes]) => fileEntry(path, bytes)),
  ];
}

function fileEntry(path: string, bytes: Uint8Array): object {
  return {
    type: 'file',
    path,
    size: bytes.length,
    oid: gitBlobSha1(isLarge(bytes) ? Buffer.from(`pointer to ${sha256(bytes)}`) : bytes),
    ...(isLarge(bytes) ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } } : {}),
  };
}

function isLarge(bytes: Uint8Array): boolean {
  return bytes.length > 15_000;
}

function sendJson(response: ServerResponse, value: object): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'x-error-code': code, 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ error: 'words of the server' }));
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function gitBlobSha1(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}

/** Listens on any port of this machine until the test ends. */
export async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // It listens on a port, not on a pipe.
}

/** Faults. */

export function status(code: number, headers: Readonly<Record<string, string>> = {}): Fault {
  return (response) => response.writeHead(code, headers).end('words of the server');
}

/** Sends this many bytes of the body, then cuts the connection. */
export function cutAfter(bytes: number): Fault {
  return (response, answer) => limitBody(response, bytes, answer, () => response.destroy());
}

/** Sends this many bytes of the body, then nothing more, with the connection open. */
export function stallAfter(bytes: number): Fault {
  return (response, answer) => limitBody(response, bytes, answer, () => undefined);
}

function limitBody(response: ServerResponse, bytes: number, answer: () => void, then: () => void): void {
  response.end = (chunk?: unknown) => {
    response.write(Buffer.from(chunk as Uint8Array).subarray(0, bytes), then); // sendBytes sends bytes.
    return response;
  };
  answer();
}

/** Sends the right number of bytes, with a wrong last one. */
export const corrupt: Fault = (response, answer) => {
  const end = response.end.bind(response);
  response.end = (chunk?: unknown) => {
    const bytes = Buffer.from(chunk as Uint8Array); // sendBytes sends bytes.
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
    return end(bytes);
  };
  answer();
};

/** Sends the whole file, whatever part was asked for. */
export const ignoreRange: Fault = (_response, answer, request) => {
  delete request.headers.range;
  answer();
};
