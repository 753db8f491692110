import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { startServer } from '../../support/loopback-server.ts';
import { packageOf, pythonIndex, runtimeText } from '../../support/runtime-packages.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));

interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

function gpu(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const { PATH, HOME } = process.env;
  const command = ['--import', 'tsx', 'handlers/command-line/main.ts', 'gpu', ...args];
  return new Promise((resolve) => {
    const options = { cwd: root, env: { PATH, HOME, ...environment } };
    execFile(process.execPath, command, options, (error, stdout, stderr) =>
      resolve({ exitCode: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

describe('gpu', () => {
  test('asks the index of PIP_INDEX_URL for the version of the installed runtime', async () => {
    const wheel = packageOf('onnxruntime/capi', { commit: 'abc', cuda: '13' });
    const origin = await startServer(pythonIndex('1.30.0', wheel));
    const folder = temporaryFolder({ 'libonnxruntime.so.1': runtimeText('abc') });
    const ended = await gpu(['--cuda', '13', '--folder', folder], { PIP_INDEX_URL: `${origin}/simple` });
    // The wheel is none of onnxruntime's, and its checksum is pinned.
    expect(ended).toMatchObject({ exitCode: 1, stdout: '' });
    expect(ended.stderr).toMatch(/^PROVIDER_INSTALL_FAILED: onnxruntime_gpu-1\.30\.0-.+ expected sha256 6acc0f4b/m);
    expect(readdirSync(folder)).toEqual(['libonnxruntime.so.1']);
  });

  test.each([
    [['--cuda', '11'], 'INVALID_REQUEST: Expected --cuda to be 12 or 13, got "11". Try --help.'],
    [['--index', 'ftp://me:secret@host/'], 'INVALID_REQUEST: Expected the index to be an http or https URL'],
    [['--cudas'], "INVALID_REQUEST: Unknown option '--cudas'"],
  ])('refuses %j', async (args, message) => {
    const { exitCode, stderr } = await gpu(args);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('secret');
  });

  test('explains itself', async () => {
    const { exitCode, stdout } = await gpu(['--help']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('--cuda VERSION');
  });
});
