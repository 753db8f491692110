import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Environment } from '../../../checkpoint/hub/hub-settings.ts';
import { formatBytes, showProgress } from '../../../handlers/command-line/download-progress.ts';
import {
  COMMIT,
  fixtureFiles,
  hubEnvironment,
  MODEL,
  sha256,
  stallAfter,
  startHub,
  status,
} from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const files = fixtureFiles('narrow-vision');

interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(environment: Environment, args: readonly string[]): ChildProcessWithoutNullStreams {
  const { PATH, HOME } = process.env;
  return spawn(process.execPath, ['--import', 'tsx', 'handlers/command-line/download.ts', ...args], {
    cwd: root,
    env: { PATH, HOME, ...environment },
  });
}

async function end(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const [exitCode] = await once(child, 'close');
  return { exitCode, stdout, stderr };
}

const run = (environment: Environment, ...args: readonly string[]) => end(start(environment, args));

describe('npm run download', () => {
  test('prints the folder alone on stdout, lines of progress on stderr', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const { exitCode, stdout, stderr } = await run(environment, MODEL);
    expect([exitCode, stdout]).toEqual([
      0,
      `${environment['HF_HOME']}/hub/models--Owner--Some-Model/snapshots/${COMMIT}\n`,
    ]);
    expect(stderr).toContain('model.safetensors: 100 % of 629.3 kB\n');
    expect(stderr).not.toContain('\x1b');
  });

  test('into a folder, at a revision', async () => {
    const hub = await startHub(files);
    hub.setRevision('refs/pr/18', COMMIT);
    const folder = join(temporaryFolder(), 'model');
    const ended = await run(hubEnvironment(hub), MODEL, '--folder', folder, '--revision', 'refs/pr/18');
    expect(ended).toMatchObject({ exitCode: 0, stdout: `${folder}\n` });
    expect(hub.requests[0]?.path).toContain('refs%2Fpr%2F18');
    expect(readFileSync(join(folder, 'config.json'))).toEqual(files['config.json']);
  });

  test('ended by SIGINT it keeps what has arrived, and goes on from there', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const weightsPath = `/${sha256(files['model.safetensors'] ?? new Uint8Array())}`;
    hub.fail(weightsPath, stallAfter(300_000));
    const child = start(environment, [MODEL]);
    child.stderr.on('data', (chunk) => {
      if (/model\.safetensors: [34]0 %/.test(String(chunk))) child.kill('SIGINT');
    });
    expect(await end(child)).toMatchObject({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringContaining('CANCELLED: Ended by SIGINT. Run it again'),
    });
    expect(await run(environment, MODEL)).toMatchObject({ exitCode: 0 });
    const [, second] = hub.requests.filter(({ path }) => path === weightsPath);
    expect(second?.headers.range).toMatch(/^bytes=[1-3]\d{5}-$/);
  });

  test('says on stderr what is wrong, with its code', async () => {
    const hub = await startHub(files);
    hub.fail('/api/', status(401));
    const { exitCode, stdout, stderr } = await run(hubEnvironment(hub), MODEL);
    expect([exitCode, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^CHECKPOINT_ACCESS_DENIED: Owner\/Some-Model: expected access, got 401\. .*\n$/);
  });

  test.each([
    [[], 'INVALID_REQUEST: Expected one model, got 0'],
    [['a/b', 'c/d'], 'INVALID_REQUEST: Expected one model, got 2'],
    [['a/b', '--wrong'], "INVALID_REQUEST: Unknown option '--wrong'"],
    [['not-a-model'], 'CHECKPOINT_NOT_FOUND'],
    [['--help'], 'Usage: blip-handler download'],
  ])('%j', async (args, words) => {
    const { exitCode, stdout, stderr } = await run(hubEnvironment({ url: 'http://127.0.0.1:9' }), ...args);
    const isHelp = args[0] === '--help';
    expect([exitCode, isHelp ? stderr : stdout]).toEqual([isHelp ? 0 : 1, '']);
    expect(isHelp ? stdout : stderr).toContain(words);
  });
});

describe('showProgress', () => {
  test('says a line for each tenth where there is no terminal', () => {
    const lines: string[] = [];
    const display = showProgress({ write: (line) => lines.push(String(line)) > 0 });
    for (let receivedBytes = 0; receivedBytes <= 1000; receivedBytes += 1) {
      display.progress({ file: 'a', receivedBytes, totalBytes: 1000 });
    }
    display.notice('something');
    display.stop();
    expect(lines).toHaveLength(12);
    expect(lines.slice(-2)).toEqual(['a: 100 % of 1.0 kB\n', 'something\n']);
  });

  test('draws a bar on a terminal and leaves the cursor visible', () => {
    let text = '';
    const write = (chunk: unknown) => {
      text += chunk;
      return true;
    };
    const terminal = { isTTY: true, columns: 100, write, on: () => terminal, removeListener: () => terminal };
    const display = showProgress(terminal);
    display.progress({ file: 'model.safetensors', receivedBytes: 500, totalBytes: 1000 });
    display.progress({ file: 'model.safetensors', receivedBytes: 1000, totalBytes: 1000 });
    display.stop();
    display.stop();
    expect(text).toContain('100% of 1.0 kB');
    expect(text).toContain('model.safetensors');
    expect(text.lastIndexOf('\x1b[?25h')).toBeGreaterThan(text.lastIndexOf('\x1b[?25l'));
  });

  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [629_306, '629.3 kB'],
    [1_879_050_000, '1.9 GB'],
    [5e15, '5000.0 TB'],
  ])('formatBytes(%i)', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});
