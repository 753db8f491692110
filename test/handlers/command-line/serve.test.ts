import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { programEnvironment, runProgram, startServerProcess } from '../../support/bundle.ts';
import { send } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** Commands that a person types to start the server, and how it ends. */

const root = fileURLToPath(new URL('../../..', import.meta.url));
const bundle = builtBundle();

describe('arguments', () => {
  test.each([
    [['--prot', '8123'], "'--prot': did you mean --port?"],
    [['--max_beams=3'], "'--max_beams': did you mean --max-beams?"],
    [['--nothing-like-it'], "'--nothing-like-it'."],
    [['--model', 'a/b'], "'--model': did you mean --checkpoint?"],
    [['--token=a'], "'--token': did you mean --api-tokens?"],
    [['8123'], "'8123'"],
    [['--port'], "'--port <value>' argument missing"],
    [['-p'], "'-p'"],
  ])('%j are refused, and no server starts', async (args, named) => {
    const { exitCode, stdout, stderr } = await runProgram(bundle, 'serve.js', { args });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    const { error, code } = JSON.parse(stderr);
    expect(code).toBe('INVALID_REQUEST');
    expect(error).toContain(named);
    expect(error).toMatch(/[.?] Try --help\.$/);
  });

  test.each(['--help', '-h'])('%s explains the server, and starts none', async (flag) => {
    const { exitCode, stdout, stderr } = await runProgram(bundle, 'serve.js', { args: [flag] });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(
      /^Usage: .*\nThe model\n {2}--checkpoint PLACE\n.*\nThe server: who may ask\n {2}--api-tokens TOKEN,…\n/s,
    );
  });

  test.each([['list-models'], ['download'], ['quantize'], ['merge'], ['gpu'], ['invoke']])(
    '%s refuses an unknown option',
    async (name) => {
      const { exitCode, stdout, stderr } = await runProgram(bundle, 'main.js', { args: [name, '--nothing'] });
      expect(exitCode).toBe(1);
      expect(stdout + stderr).toMatch(/INVALID_REQUEST.*Try --help|Try --help.*INVALID_REQUEST/);
    },
  );
});

describe('options that are settings', () => {
  const startWith = async (args: readonly string[], variables: Readonly<Record<string, string>> = {}) => {
    const server = await startServerProcess(bundle, variables, 'ready', ['main.js', 'serve', ...args]);
    onTestFinished(() => server.kill('SIGKILL'));
    return server;
  };
  const modelsOf = async (url: string) => (await send(url, { path: '/v2/models' })).text;

  test('win over variables, and variables over files', async () => {
    const folder = temporaryFolder({
      'other.env': 'BLIP_WORKERS=7\n',
      'service.env': 'BLIP_MODEL_NAME=from-file\nBLIP_PRESET=from-file\nBLIP_WORKERS="1" # one\nLOG_LEVEL=debug\n',
    });
    const files = ['other.env', 'service.env'].flatMap((name) => ['--env-file', join(folder, name)]);
    const server = await startWith([...files, '--preset', 'hf', '--port=0'], {
      BLIP_MODEL_NAME: 'from-variable',
      PORT: '1',
    });
    expect(await modelsOf(server.url)).toBe('{"models":["from-variable"]}');
    expect(server.log().find(({ msg }) => msg === 'ready')).toMatchObject({ preset: 'hf', workers: 1 });
  });

  test('choose the checkpoint, also in place of the models of a variable', async () => {
    const args = ['--checkpoint', `${root}checkpoints/scenes-retrieval`];
    const server = await startWith(args, { BLIP_MODELS: 'one=/nowhere' });
    expect(await modelsOf(server.url)).toBe('{"models":["retrieval"]}');
  });

  test.each([
    [['--port', 'abc'], 'Expected --port to be a port number from 0 to 65535, got "abc".'],
    [['--port='], 'Expected a value of --port, got an empty one.'],
    [['--workers', '0'], 'Expected --workers to be auto or a whole number of at least 1, got "0".'],
    [['--models', 'a=/b', '--checkpoint', '/c'], 'Expected --models or --checkpoint, got both'],
    [['--model-name=a/b', '--checkpoint', '/c'], 'Expected --checkpoint or --model-name=a/b, got both.'],
    [['--authorizer', 'platform', '--api-tokens', 'my-secret'], 'Expected BLIP_API_TOKENS or BLIP_AUTHORIZER=platform'],
    [['--image-https-only', 'perhaps'], "Unexpected argument 'perhaps'"],
  ])('%j are refused', async (args, message) => {
    const { exitCode, stdout, stderr } = await runProgram(bundle, 'serve.js', { args });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    const { error } = JSON.parse(stderr);
    expect(error).toContain(message);
    expect(error).not.toContain('my-secret');
  });

  test('an unknown name of a model is looked for where checkpoints are', async () => {
    const { exitCode, stderr } = await runProgram(bundle, 'serve.js', {
      args: ['--model-name=Nobody/Nothing', '--port', '0'],
      variables: { HF_HUB_OFFLINE: '1', HF_HOME: temporaryFolder() },
    });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stderr)).toMatchObject({
      code: 'CHECKPOINT_NOT_CACHED',
      error: expect.stringContaining('Nobody/Nothing'),
    });
  });

  test('a file that is not there is named', async () => {
    const { exitCode, stderr } = await runProgram(bundle, 'serve.js', { args: ['--env-file', '/nowhere/service.env'] });
    expect(exitCode).not.toBe(0); // Node 20 and 22 read the option too, and are the first to complain.
    expect(stderr).toContain('/nowhere/service.env');
  });
});

const hasTerminal = spawnSync('script', ['--version']).status === 0;

describe.skipIf(!hasTerminal && process.env['CI'] !== 'true')('at a terminal', () => {
  /** Runs a program of the bundle at a terminal of its own, until it ends or `until` has appeared and `typed` was typed. */
  async function atTerminal(command: string, until: RegExp, typed: string): Promise<string> {
    const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
      cwd: bundle.folder,
      env: { ...programEnvironment({ PORT: '0' }), TERM: 'xterm-256color', COLUMNS: '80' },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    let output = '';
    let isTyped = false;
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      if (isTyped || !until.test(output)) return;
      isTyped = true;
      child.stdin.write(typed);
    });
    await once(child, 'close');
    return output.replaceAll('\r\n', '\n');
  }
  const node = `'${process.execPath}'`;
  const CONTROL_C = '\u0003';

  test('the log is for people, and Ctrl-C stops the server', async () => {
    const output = await atTerminal(`${node} dist/serve.js`, /captioning .* ms/, CONTROL_C);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the terminal's colours.
    const plain = output.replace(/\u001b\[\d+m/g, '');
    expect(plain).not.toBe(output);
    expect(plain).toMatch(/^\d\d:\d\d:\d\d {2}Listening at http:\/\/127\.0\.0\.1:\d+$/m);
    expect(plain).toMatch(
      /MODEL +TASK +DEVICE +PRECISION +LOADED IN\n[\d:]+ +captioning +captioning +cpu +float32 +\d+ ms/,
    );
    expect(plain).toContain('draining');
    expect(plain).toContain('stopped');
    expect(plain).not.toMatch(/[{}]/);
  });

  test('an error is one line of words', async () => {
    const output = await atTerminal(`PORT=abc ${node} dist/serve.js`, /never/, '');
    expect(output).toContain('SETTINGS_INVALID: Expected PORT to be a port number from 0 to 65535, got "abc".\n');
  });

  test('LOG_FORMAT=json stays JSON', async () => {
    const output = await atTerminal(`LOG_FORMAT=json ${node} dist/serve.js`, /"ready"/, CONTROL_C);
    expect(output).toMatch(/^\{"level":30,.*"msg":"ready"\}$/m);
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
  const command = `"${process.execPath}" dist/main.js list-models | head -1`;
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
