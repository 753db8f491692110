import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { programEnvironment, runProgram, startServerProcess } from '../../support/bundle.ts';

/** Commands that a person types to start the server, and how it ends. */

const root = fileURLToPath(new URL('../../..', import.meta.url));
const bundle = builtBundle();

describe('arguments', () => {
  test.each([
    [['--port', '8123'], "'--port'"],
    [['--model-name=ViT-B-32:openai'], "'--model-name'"],
    [['8123'], "'8123'"],
    [['-p'], "'-p'"],
  ])('%j are refused, and no server starts', async (args, named) => {
    const { exitCode, stdout, stderr } = await runProgram(bundle, 'serve.js', { args });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    const { error, code } = JSON.parse(stderr);
    expect(code).toBe('INVALID_REQUEST');
    expect(error).toContain(named);
    expect(error).toMatch(/\. Try --help\.$/);
  });

  test.each(['--help', '-h'])('%s explains the server, and starts none', async (flag) => {
    const { exitCode, stdout, stderr } = await runProgram(bundle, 'serve.js', { args: [flag] });
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' });
    expect(stderr).toMatch(/^Usage: .*BLIP_CHECKPOINT.*BLIP_API_TOKENS/s);
  });

  test.each([['list_models'], ['download'], ['quantize'], ['invoke']])('%s refuses an unknown option', async (name) => {
    const { exitCode, stdout, stderr } = await runProgram(bundle, 'main.js', { args: [name, '--nothing'] });
    expect(exitCode).toBe(1);
    expect(stdout + stderr).toMatch(/INVALID_REQUEST.*Try --help|Try --help.*INVALID_REQUEST/);
  });
});

test('a misspelt setting is named in the log, and one of Kubernetes is not', async () => {
  const variables = { BLIP_CHEKPOINT: 'x', blip_workers: '2', BLIP_PORT_8080_TCP: 'tcp://10.0.0.1:8080' };
  const server = await startServerProcess(bundle, { ...variables, LOG_LEVEL: 'info' }, 'ready');
  server.kill('SIGTERM');
  const { stdout } = await server.exit;
  const named = [...stdout.matchAll(/"variable":"(\w+)"/g)].map((match) => match[1]);
  expect(named.sort()).toEqual(['BLIP_CHEKPOINT', 'blip_workers']);
});

describe('under npm', () => {
  test.each(['start', 'serve'])('npm run %s passes SIGTERM on, and the server drains', async (script) => {
    const npm = spawn('npm', ['run', script], {
      cwd: root,
      env: programEnvironment({ PORT: '0', LOG_LEVEL: 'info' }),
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const messages: string[] = [];
    let pid = 0;
    for await (const line of createInterface({ input: npm.stdout })) {
      if (!line.startsWith('{')) continue;
      const { msg, pid: serverPid } = JSON.parse(line);
      messages.push(msg);
      pid = serverPid;
      if (msg === 'ready') npm.kill('SIGTERM');
    }
    if (npm.exitCode === null && npm.signalCode === null) await once(npm, 'exit');
    expect(messages.slice(-2)).toEqual(['draining', 'stopped']);
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });
});

test('a reader that leaves ends a command quietly', () => {
  const command = `"${process.execPath}" dist/main.js list_models | head -1`;
  const { stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: bundle.folder, encoding: 'utf8' });
  expect({ stdout, stderr }).toEqual({ stdout: expect.stringMatching(/^MODEL.*\n$/), stderr: '' });
});

test.each([
  ['that has no settings yet', 'invoke', { BLIP_WEIGHTS: 'nowhere' }],
  ['that starts a model', 'invoke', {}],
  ['that cannot start', 'serve', { BLIP_CHECKPOINT: '/nowhere', PORT: '0' }],
])('a reader that leaves at once does not make a process abort %s', async (_, command, environment) => {
  const { PATH, HOME } = process.env;
  for (let run = 0; run < 8; run += 1) {
    const started = spawn(process.execPath, ['dist/main.js', command], {
      cwd: bundle.folder,
      env: { PATH, HOME, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    started.stdout.destroy();
    started.stderr.destroy();
    const [, signal] = await once(started, 'exit');
    expect(signal).toBeNull();
  }
});
