import { existsSync, readdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { inspect } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CheckpointError } from '../../../checkpoint/errors.ts';
import { type DownloadOptions, downloadCheckpoint } from '../../../checkpoint/hub/download.ts';
import type { Environment } from '../../../checkpoint/hub/hub-settings.ts';
import { locateCheckpoint } from '../../../checkpoint/hub/locate.ts';
import {
  COMMIT,
  corrupt,
  cutAfter,
  type Fault,
  fixtureFiles,
  gitBlobSha1,
  type HubServer,
  hubEnvironment,
  ignoreRange,
  listen,
  MODEL,
  quickLimits,
  sha256,
  stallAfter,
  startHub,
  status,
} from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const reference = { name: MODEL, revision: 'main' };
const files = fixtureFiles('narrow-vision');
const weights = Buffer.from(files['model.safetensors'] ?? []);
const weightsPath = `/${sha256(weights)}`;

const aPart = /^bytes=[1-9]\d*-$/;

function blobsFolder(environment: Environment): string {
  return join(environment['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model', 'blobs');
}

function halfWritten(environment: Environment): readonly string[] {
  return readdirSync(blobsFolder(environment)).filter((name) => name.endsWith('.incomplete'));
}

/** The size of the only half-written file. */
function halfWrittenBytes(environment: Environment): number {
  const [name, ...others] = halfWritten(environment);
  expect(others).toEqual([]);
  return statSync(join(blobsFolder(environment), name ?? '')).size;
}

function download(environment: Environment, options: DownloadOptions = {}): Promise<string> {
  return downloadCheckpoint(reference, environment, { limits: quickLimits, ...options });
}

function weightsRequests({ requests }: HubServer): readonly (string | undefined)[] {
  return requests.filter(({ path }) => path === weightsPath).map(({ headers }) => headers.range);
}

async function expectWhole(folder: Promise<string>): Promise<void> {
  expect(readFileSync(join(await folder, 'model.safetensors')).equals(weights)).toBe(true);
}

/** A proxy for tunnels, or one that refuses them. */
async function startProxy(refusal?: string): Promise<{ readonly url: string; readonly asked: string[] }> {
  const asked: string[] = [];
  const server = createServer().on('connect', ({ url = '' }, socket) => {
    asked.push(url);
    socket.on('error', () => undefined);
    if (refusal !== undefined) {
      socket.end(`HTTP/1.1 ${refusal}\r\n\r\n`);
      return;
    }
    const { hostname, port } = new URL(`http://${url}`);
    const upstream = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    }).on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }; // It listens on a port.
}

/** The error. It must have this code and these words, and none of the server's. */
async function expectError(
  promise: Promise<unknown>,
  code: string,
  ...words: readonly string[]
): Promise<CheckpointError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  const checkpointError = error as CheckpointError; // The line above.
  expect(checkpointError).toMatchObject({ code });
  for (const word of words) expect(checkpointError.message).toContain(word);
  expect(inspect(checkpointError, { depth: 9 })).not.toContain('words of the server');
  return checkpointError;
}

describe('a cut', () => {
  test('within a download: only the missing bytes are fetched', async () => {
    const hub = await startHub(files);
    hub.fail(weightsPath, cutAfter(200_000), cutAfter(100_000));
    const smallBytes = Object.values(files).reduce((sum, { length }) => sum + length, 0) - weights.length;
    let receivedBytes = 0;
    const ranges: string[] = [];
    await expectWhole(
      download(hubEnvironment(hub), {
        onProgress: (progress) => {
          receivedBytes = progress.receivedBytes;
        },
        onNotice: (line) => {
          expect(line).toMatch(/model\.safetensors: got a cut connection.*; trying again in/);
          ranges.push(`bytes=${receivedBytes - smallBytes}-`);
        },
      }),
    );
    expect(ranges).toHaveLength(2);
    expect(weightsRequests(hub)).toEqual([undefined, ...ranges]);
  });

  test('that lasts: the next download resumes from there', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(weightsPath, cutAfter(200_000), status(503), status(503));
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED', 'model.safetensors', '503', 'kept');
    const bytes = halfWrittenBytes(environment);
    expect(bytes).toBeGreaterThan(0);
    expect(existsSync(join(blobsFolder(environment), '../snapshots', COMMIT, 'model.safetensors'))).toBe(false);
    hub.requests.length = 0;
    await expectWhole(locateCheckpoint(MODEL, environment, { limits: quickLimits }));
    expect(weightsRequests(hub)).toEqual([`bytes=${bytes}-`]);
    expect(hub.requests.filter(({ path }) => path.includes('/resolve/'))).toHaveLength(1);
    expect(halfWritten(environment)).toEqual([]);
  });

  test('of the process: the next process resumes from its bytes', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(weightsPath, cutAfter(200_000), status(503), status(503));
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED');
    const [left = ''] = halfWritten(environment);
    const now = new Date();
    utimesSync(join(blobsFolder(environment), left), now, now); // As if its owner had died just now.
    const bytes = halfWrittenBytes(environment);
    await expectWhole(download(environment, { limits: { ...quickLimits, abandonedAfterMs: 300 } }));
    expect(weightsRequests(hub).at(-1)).toBe(`bytes=${bytes}-`);
    expect(halfWritten(environment)).toEqual([]);
  });

  test('by the user: the bytes that have arrived are kept', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const controller = new AbortController();
    hub.fail(weightsPath, stallAfter(200_000));
    const onProgress = ({ receivedBytes }: { receivedBytes: number }) => {
      if (receivedBytes > 200_000) controller.abort(new Error('enough'));
    };
    await expect(download(environment, { signal: controller.signal, onProgress })).rejects.toThrow('enough');
    await expectWhole(download(environment));
    expect(weightsRequests(hub)[1]).toMatch(aPart);
  });

  test('in a listing', async () => {
    const hub = await startHub(files);
    hub.fail('/tree/', (response) => {
      response.writeHead(200, { 'content-length': 1000 }).write('[{', () => response.destroy());
    });
    await expectWhole(download(hubEnvironment(hub)));
  });
});

test('a server that ignores Range sends the whole file again', async () => {
  const hub = await startHub(files);
  hub.fail(weightsPath, cutAfter(200_000), ignoreRange);
  await expectWhole(download(hubEnvironment(hub)));
  expect(weightsRequests(hub)).toEqual([undefined, expect.stringMatching(aPart)]);
});

test('a server that sends another part is refused', async () => {
  const hub = await startHub(files);
  const environment = hubEnvironment(hub);
  hub.fail(weightsPath, cutAfter(200_000), (response, _answer, request) => {
    const start = Number(/\d+/.exec(request.headers.range ?? ''));
    const part = weights.subarray(0, weights.length - start);
    response.writeHead(206, { 'content-range': `bytes 0-${part.length - 1}/${weights.length}` }).end(part);
  });
  await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED', 'from byte', 'bytes 0-');
  await expectWhole(download(environment));
});

describe('bytes with another checksum', () => {
  test.each([
    ['sha256', weightsPath, sha256(weights)],
    ['git-sha1', '/config.json', 'config.json'],
  ])('leave nothing (%s)', async (algorithm, path, words) => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(path, corrupt);
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED', algorithm, words);
    expect(halfWritten(environment)).toEqual([]);
    expect(readdirSync(blobsFolder(environment))).not.toContain(sha256(weights));
    await expectError(locateCheckpoint(MODEL, { ...environment, HF_HUB_OFFLINE: '1' }), 'CHECKPOINT_NOT_CACHED');
    await expectWhole(download(environment));
  });

  test('leave nothing in a folder', async () => {
    const hub = await startHub(files);
    const folder = temporaryFolder();
    hub.fail(weightsPath, corrupt);
    await expectError(download(hubEnvironment(hub), { folder }), 'CHECKPOINT_DOWNLOAD_FAILED');
    expect(readdirSync(folder)).not.toContain('model.safetensors');
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  test('from an earlier attempt: the whole file is fetched again', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(weightsPath, cutAfter(200_000), status(503), status(503));
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED');
    const [left = ''] = halfWritten(environment);
    const path = join(blobsFolder(environment), left);
    writeFileSync(path, new Uint8Array(200_000)); // Zeros, as a power cut may leave them.
    utimesSync(path, 0, 0);
    await expectWhole(download(environment));
    expect(weightsRequests(hub).slice(-2)).toEqual(['bytes=200000-', undefined]); // The size of the zeros.
  });

  test('a login page in place of the file is refused by its size', async () => {
    const hub = await startHub(files);
    hub.fail(weightsPath, (response) => response.end('<html>Please log in</html>'));
    await expectError(download(hubEnvironment(hub)), 'CHECKPOINT_DOWNLOAD_FAILED', '621344 bytes', 'got 26 bytes');
  });

  test('such a page leaves the bytes that have arrived', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(weightsPath, cutAfter(200_000), (response) => response.end('<html>Please log in</html>'));
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED', 'got 26 bytes');
    const bytes = halfWrittenBytes(environment);
    await expectWhole(download(environment));
    expect(weightsRequests(hub).at(-1)).toBe(`bytes=${bytes}-`);
  });

  test('more bytes than listed, without a length, are refused', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail('/config.json', (response) => {
      response.write('x'.repeat(1_000));
      response.end('x'.repeat(1_000));
    });
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED', 'got more');
    await expectWhole(download(environment));
  });
});

describe('refusals are not tried again', () => {
  test.each([
    [401, {}, 'CHECKPOINT_ACCESS_DENIED', 'set HF_TOKEN'],
    [401, { 'x-error-code': 'GatedRepo' }, 'CHECKPOINT_ACCESS_DENIED', 'Accept the terms at'],
    [403, { 'x-error-code': 'GatedRepo' }, 'CHECKPOINT_ACCESS_DENIED', 'Accept the terms at'],
    [403, {}, 'CHECKPOINT_ACCESS_DENIED', 'expected access, got 403'],
    [404, { 'x-error-code': 'RepoNotFound' }, 'CHECKPOINT_NOT_FOUND', 'Check the name'],
    [404, { 'x-error-code': 'RevisionNotFound' }, 'CHECKPOINT_NOT_FOUND', 'refs/pr/NUMBER'],
    [418, {}, 'CHECKPOINT_DOWNLOAD_FAILED', 'status 418'],
  ])('%i %j', async (code, headers: Readonly<Record<string, string>>, expected, words) => {
    const hub = await startHub(files);
    hub.fail('/api/', status(code, headers));
    await expectError(download(hubEnvironment(hub)), expected, words, MODEL);
    expect(hub.requests).toHaveLength(1);
  });

  test('403 of a gated file whose model is listed', async () => {
    const hub = await startHub(files);
    hub.fail('/config.json', status(403, { 'x-error-code': 'GatedRepo' }));
    await expectError(
      download(hubEnvironment(hub, { HF_TOKEN: 'hf_secret' })),
      'CHECKPOINT_ACCESS_DENIED',
      `${MODEL}: config.json`,
      `${hub.url}/${MODEL}`,
    );
  });

  test('a model and a revision that are not there', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const locate = (text: string) => locateCheckpoint(text, environment, { limits: quickLimits });
    await expectError(locate('Owner/Other'), 'CHECKPOINT_NOT_FOUND', 'Owner/Other');
    await expectError(locate(`${MODEL}@v9`), 'CHECKPOINT_NOT_FOUND', `${MODEL}@v9`, 'revision');
  });
});

describe('failures that may pass', () => {
  test.each([408, 500, 502, 503, 504, 520])('%i once or twice, then an answer', async (code) => {
    const hub = await startHub(files);
    hub.fail('/api/', status(code), status(code));
    hub.fail('/config.json', status(code));
    await expectWhole(download(hubEnvironment(hub)));
  });

  test('429 waits as long as Retry-After says', async () => {
    const hub = await startHub(files);
    hub.fail('/config.json', status(429, { 'retry-after': '1' }));
    const startMs = performance.now();
    await expectWhole(download(hubEnvironment(hub)));
    expect(performance.now() - startMs).toBeGreaterThan(990);
  });

  test('Retry-After may be a date', async () => {
    const hub = await startHub(files);
    hub.fail('/config.json', status(429, { 'retry-after': new Date(Date.now() - 1000).toUTCString() }));
    await expectWhole(download(hubEnvironment(hub)));
  });

  test('a Retry-After of an hour is an error: the user decides', async () => {
    const hub = await startHub(files);
    hub.fail('/api/', status(429, { 'retry-after': '3600' }));
    await expectError(download(hubEnvironment(hub)), 'CHECKPOINT_DOWNLOAD_FAILED', 'status 429');
  });

  test('500 that lasts', async () => {
    const hub = await startHub(files);
    hub.fail('/api/', status(500), status(500), status(500));
    await expectError(download(hubEnvironment(hub)), 'CHECKPOINT_DOWNLOAD_FAILED', 'status 500 at attempt 3', hub.url);
    expect(hub.requests).toHaveLength(3);
  });

  test('a body that stalls is cut and resumed', async () => {
    const hub = await startHub(files);
    hub.fail(weightsPath, stallAfter(200_000));
    const notices: string[] = [];
    await expectWhole(download(hubEnvironment(hub), { onNotice: (line) => notices.push(line) }));
    expect(weightsRequests(hub)).toEqual([undefined, 'bytes=200000-']);
    expect(notices).toEqual([expect.stringContaining('a stalled connection')]);
  });

  test('an answer that never comes', async () => {
    const hub = await startHub(files);
    hub.fail('/api/', () => undefined);
    const notices: string[] = [];
    await expectWhole(download(hubEnvironment(hub), { onNotice: (line) => notices.push(line) }));
    expect(notices).toEqual([expect.stringContaining('no answer in time')]);
  });

  test('a slow body is no failure', async () => {
    const hub = await startHub(files);
    hub.fail(weightsPath, async (response) => {
      response.writeHead(200, { 'content-length': weights.length });
      for (let start = 0; start < weights.length; start += 100_000) {
        response.write(weights.subarray(start, start + 100_000));
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
      response.end();
    });
    const notices: string[] = [];
    await expectWhole(download(hubEnvironment(hub), { onNotice: (line) => notices.push(line) }));
    expect(notices).toEqual([]);
  });

  test('a port that nobody listens on', async () => {
    const environment = hubEnvironment({ url: 'http://127.0.0.1:9' });
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED', 'ECONNREFUSED', 'HF_ENDPOINT');
  });

  test('redirects without end', async () => {
    const url = await listen((request, response) => response.writeHead(302, { location: request.url }).end());
    await expectError(download(hubEnvironment({ url })), 'CHECKPOINT_DOWNLOAD_FAILED', 'redirects');
  });
});

describe('the token', () => {
  const token = 'hf_very_secret';

  test.each([
    ['HF_TOKEN', { HF_TOKEN: ` ${token}\n` }],
    ['HUGGING_FACE_HUB_TOKEN', { HUGGING_FACE_HUB_TOKEN: token }],
    ['the token file', {}],
  ])('of %s goes to the Hub and to no other host', async (_source, variables: Environment) => {
    const hub = await startHub(files);
    const home = temporaryFolder('HF_TOKEN' in variables ? { token: 'hf_other' } : { token: `${token}\n` });
    await expectWhole(download({ ...hubEnvironment(hub), HF_HOME: home, ...variables }));
    for (const { server, headers } of hub.requests) {
      expect(headers.authorization).toBe(server === 'hub' ? `Bearer ${token}` : undefined);
    }
    expect(hub.requests.some(({ server }) => server === 'edge')).toBe(true);
  });

  test('goes nowhere with the redirect of a listing either', async () => {
    const hub = await startHub(files);
    hub.fail('/api/', (response) => response.writeHead(307, { location: `${hub.edgeUrl}/api` }).end());
    await expectError(download(hubEnvironment(hub, { HF_TOKEN: token })), 'CHECKPOINT_NOT_FOUND');
    expect(hub.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${token}`, undefined]);
  });

  test.each([
    ['refused', status(401)],
    ['failing', status(500)],
  ])('is in no part of an error: %s', async (_name, fault) => {
    const hub = await startHub(files);
    hub.fail('/api/', fault, fault, fault);
    const error = await download(hubEnvironment(hub, { HF_TOKEN: token })).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CheckpointError);
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(token);
  });

  test('that is no token is refused, and not repeated', async () => {
    const hub = await startHub(files);
    const error = await expectError(
      download(hubEnvironment(hub, { HF_TOKEN: 'hf_secret and more' })),
      'CHECKPOINT_ACCESS_DENIED',
      'HF_TOKEN',
    );
    expect(error.message).not.toContain('secret');
    expect(hub.requests).toEqual([]);
  });
});

describe('a mirror and a proxy', () => {
  test('a mirror may lie below a path', async () => {
    const hub = await startHub(files);
    const url = await listen((request, response) => {
      const location = `${hub.url}${request.url?.replace('/mirror/hub', '')}`;
      response.writeHead(request.url?.startsWith('/mirror/hub/') ? 307 : 400, { location }).end();
    });
    await expectWhole(download(hubEnvironment({ url: `${url}/mirror/hub/` })));
  });

  test('HTTP_PROXY is used, and NO_PROXY is not', async () => {
    const hub = await startHub(files);
    const proxy = await startProxy();
    await expectWhole(download(hubEnvironment(hub, { HTTP_PROXY: proxy.url })));
    expect(new Set(proxy.asked)).toEqual(new Set([new URL(hub.url).host, new URL(hub.edgeUrl).host]));
    proxy.asked.length = 0;
    await expectWhole(download(hubEnvironment(hub, { HTTP_PROXY: proxy.url, NO_PROXY: '127.0.0.1' })));
    expect(proxy.asked).toEqual([]);
  });

  test('https goes through HTTPS_PROXY only', async () => {
    const environment = hubEnvironment({ url: 'https://127.0.0.1:9' });
    const proxy = await startProxy('407 Proxy Authentication Required');
    await expectError(
      download({ ...environment, HTTP_PROXY: proxy.url }),
      'CHECKPOINT_DOWNLOAD_FAILED',
      'a refused connection',
    );
    expect(proxy.asked).toEqual([]);
    await expectError(
      download({ ...environment, HTTPS_PROXY: proxy.url }),
      'CHECKPOINT_DOWNLOAD_FAILED',
      'a refusal by the proxy',
    );
    expect(proxy.asked).toContain('127.0.0.1:9');
  });

  test('a proxy that refuses', async () => {
    const hub = await startHub(files);
    const HTTP_PROXY = (await startProxy('407 Proxy Authentication Required')).url.replace('//', '//me:secret@');
    const error = await expectError(
      download(hubEnvironment(hub, { HTTP_PROXY })),
      'CHECKPOINT_DOWNLOAD_FAILED',
      'a refusal by the proxy',
    );
    expect(inspect(error, { depth: 9 })).not.toContain('secret');
    expect(hub.requests).toEqual([]);
  });
});

describe('several downloads at once', () => {
  test.each([{}, { HF_HUB_DISABLE_SYMLINKS: '1' }])('end well and leave whole files only %j', async (variables) => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub, variables);
    const delay: Fault = async (_response, answer) => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      answer();
    };
    hub.fail(weightsPath, delay, delay, delay);
    const limits = { ...quickLimits, stallTimeoutMs: 30_000 }; // However slow the machine is.
    const notices: string[] = [];
    const fetchAll = () => download(environment, { limits, onNotice: (line) => notices.push(line) });
    const folders = await Promise.all([fetchAll(), fetchAll(), fetchAll()]);
    expect(new Set(folders).size).toBe(1);
    const [folder = ''] = folders;
    for (const [name, bytes] of Object.entries(files)) {
      expect(readFileSync(join(folder, name)).equals(bytes)).toBe(true);
    }
    expect(notices).toEqual([]);
    expect(readdirSync(folder).sort()).toEqual(Object.keys(files).sort());
    const blobs = Object.values(files).map((bytes) => (bytes.length > 15_000 ? sha256(bytes) : gitBlobSha1(bytes)));
    expect(readdirSync(blobsFolder(environment)).sort()).toEqual(
      'HF_HUB_DISABLE_SYMLINKS' in variables ? [] : blobs.sort(),
    );
  });

  test('one goes on when the other fails', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    let goOn: () => void = () => undefined;
    const hold: Fault = (_response, answer) => {
      goOn = answer;
    };
    hub.fail(weightsPath, hold, status(418));
    const limits = { ...quickLimits, stallTimeoutMs: 30_000 }; // However slow the machine is.
    const outcomeOf = () =>
      download(environment, { limits }).then(
        () => 'done',
        (error: CheckpointError) => {
          goOn();
          return error.code;
        },
      );
    const outcomes = await Promise.all([outcomeOf(), outcomeOf()]);
    expect(outcomes.sort()).toEqual(['CHECKPOINT_DOWNLOAD_FAILED', 'done']);
    await expectWhole(locateCheckpoint(MODEL, { ...environment, HF_HUB_OFFLINE: '1' }));
    expect(halfWritten(environment)).toEqual([]);
  });

  test('one that fails after another has put the file there succeeds', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(weightsPath, async (response) => {
      await expectWhole(download(environment));
      response.writeHead(418).end();
    });
    await expectWhole(download(environment, { limits: { ...quickLimits, stallTimeoutMs: 30_000 } }));
  });

  test('one whose half-written file another has removed finds the whole file', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(weightsPath, async (_response, answer) => {
      await expectWhole(download(environment));
      expect(halfWritten(environment)).toEqual([]);
      answer();
    });
    await expectWhole(download(environment, { limits: { ...quickLimits, stallTimeoutMs: 30_000 } }));
    expect(weightsRequests(hub)).toEqual([undefined, undefined]);
    expect(halfWritten(environment)).toEqual([]);
  });

  test('one whose half-written file another has taken begins again', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail(weightsPath, (_response, answer) => {
      const [name = ''] = halfWritten(environment);
      const taken = name.replace(/[^.]+(?=\.incomplete$)/, '11111111-1111-4111-8111-111111111111');
      renameSync(join(blobsFolder(environment), name), join(blobsFolder(environment), taken));
      answer();
    });
    await expectWhole(download(environment, { limits: { ...quickLimits, abandonedAfterMs: 300 } }));
    expect(weightsRequests(hub)).toEqual([undefined]);
    expect(halfWritten(environment)).toEqual([]);
  });

  test('one begins with a copy of the bytes of another that waits for more', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const controller = new AbortController();
    const limits = { ...quickLimits, stallTimeoutMs: 30_000, abandonedAfterMs: 1_000 };
    let countAtResume = 0;
    hub.fail(weightsPath, stallAfter(200_000), (_response, answer) => {
      countAtResume = halfWritten(environment).length;
      answer();
    });
    const held = download(environment, { limits, signal: controller.signal });
    await expect.poll(() => weightsRequests(hub).length, { timeout: 30_000 }).toBe(1);
    await expect.poll(() => halfWrittenBytes(environment), { timeout: 30_000 }).toBe(200_000);
    await wait(2 * limits.abandonedAfterMs);
    await expectWhole(download(environment, { limits }));
    expect(weightsRequests(hub)).toEqual([undefined, 'bytes=200000-']);
    expect(countAtResume).toBe(2);
    controller.abort(new Error('enough'));
    await expect(held).rejects.toThrow('enough');
  });

  test('one fetches nothing when another finishes that it watches', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    hub.fail('/tokenizer_config.json', (_response, answer) => {
      const blob = join(blobsFolder(environment), sha256(weights));
      const incomplete = `${blob}.11111111-1111-4111-8111-111111111111.incomplete`;
      writeFileSync(incomplete, weights.subarray(0, 200_000));
      setTimeout(() => {
        writeFileSync(incomplete, weights);
        renameSync(incomplete, blob);
      }, 150);
      answer();
    });
    await expectWhole(download(environment));
    expect(weightsRequests(hub)).toEqual([]);
  });

  test('a slow one stops soon after a fast one has finished', async () => {
    const mebibyte = 1 << 20;
    const bytes = Buffer.alloc(8 * mebibyte, 'weights');
    const hub = await startHub({ ...files, 'model.safetensors': bytes });
    const environment = hubEnvironment(hub);
    let receivedBytes = 0;
    let sentBytes = 0;
    hub.fail(`/${sha256(bytes)}`, async (response) => {
      await download(environment);
      response.writeHead(200, { 'content-length': bytes.length });
      while (sentBytes < bytes.length && !response.destroyed) {
        response.write(bytes.subarray(sentBytes, sentBytes + mebibyte / 8));
        sentBytes += mebibyte / 8;
        // Else the system would take many bytes that nobody reads.
        while (receivedBytes < sentBytes && !response.destroyed) await wait(1);
      }
    });
    const folder = await download(environment, {
      limits: { ...quickLimits, stallTimeoutMs: 30_000 },
      onProgress: (progress) => {
        receivedBytes = progress.receivedBytes;
      },
    });
    expect(readFileSync(join(folder, 'model.safetensors')).equals(bytes)).toBe(true);
    expect(sentBytes).toBeGreaterThan(0);
    expect(sentBytes).toBeLessThanOrEqual(1.25 * mebibyte);
    expect(halfWritten(environment)).toEqual([]);
  });

  test('into one folder', async () => {
    const hub = await startHub(files);
    const folder = temporaryFolder();
    await Promise.all([1, 2].map(() => download(hubEnvironment(hub), { folder })));
    await expectWhole(Promise.resolve(folder));
    expect(readdirSync(folder).sort()).toEqual(Object.keys(files).sort());
  });
});

describe('places that cannot be written', () => {
  test('a file where the cache should be', async () => {
    const hub = await startHub(files);
    const cache = join(temporaryFolder({ file: 'no folder' }), 'file');
    const environment = hubEnvironment(hub, { HF_HUB_CACHE: cache });
    await expectError(download(environment), 'CHECKPOINT_DOWNLOAD_FAILED', cache, 'ENOTDIR');
  });

  test('a folder where a file should be', async () => {
    const hub = await startHub(files);
    const folder = temporaryFolder({ 'config.json/file': '' });
    await expectError(download(hubEnvironment(hub), { folder }), 'CHECKPOINT_DOWNLOAD_FAILED', folder, 'EISDIR');
  });
});
