import { describe, expect, test } from 'vitest';
import packageDescription from '../../../package.json' with { type: 'json' };
import { builtBundle } from '../../support/built-bundle.ts';
import { runProgram, startServerProcess } from '../../support/bundle.ts';
import { dataUri, outputOf, send } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** The program `blip-handler` of the bundle. */

const commands = ['serve', 'invoke', 'download', 'quantize', 'merge', 'gpu', 'build', 'list-models'];

const { version } = packageDescription;
const bundle = builtBundle();

const main = (args: readonly string[], variables: Readonly<Record<string, string>> = {}) =>
  runProgram(bundle, 'main.js', { args, variables });

describe('without a known command', () => {
  const namedIn = (text: string) => [...text.matchAll(/^ {2}([\w-]+) +(?!COMMAND)[a-z]/gm)].map((match) => match[1]);

  test.each([[[]], [['--help']], [['-h']], [['help']], [['help', '--help']]])('%j names the commands', async (args) => {
    const { exitCode, stdout, stderr } = await main(args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(/^Usage: blip-handler COMMAND \[options\]\n/);
    expect(namedIn(stdout)).toEqual([...commands, '--version']);
  });

  test.each([
    [['caption']],
    [['Serve']],
    [['toString']],
    [['__proto__']],
    [['caption', 'invoke']],
    [['help', 'caption']],
  ])('%j names the commands on stderr, with exit code 1', async (args) => {
    const { exitCode, stdout, stderr } = await main(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(/^There is no such command.*\n\nUsage: blip-handler COMMAND \[options\]\n/);
    expect(namedIn(stderr)).toEqual([...commands, '--version']);
  });

  test.each(['--version', '-v'])('%s prints the version', async (flag) => {
    expect(await main([flag])).toEqual({ exitCode: 0, signal: null, stdout: `blip-handler ${version}\n`, stderr: '' });
  });

  test.each([
    ['Serve', 'serve'],
    ['list-model', 'list-models'],
    ['quantise', 'quantize'],
  ])('for %s, the message names %s', async (name, meant) => {
    const { stderr } = await main([name]);
    expect(stderr).toContain(`There is no such command: did you mean ${meant}?\n`);
  });
});

describe('a command', () => {
  test('invoke answers a request, and takes options', async () => {
    const { exitCode, stdout, stderr } = await main([
      'invoke',
      '--img_url',
      dataUri('small'),
      '--parameters',
      '{"max_new_tokens": 2}',
    ]);
    expect(exitCode, stderr).toBe(0);
    const answer = JSON.parse(stdout);
    const alone = await runProgram(bundle, 'invoke.js', {
      args: ['--img_url', dataUri('small'), '--parameters', '{"max_new_tokens": 2}'],
    });
    expect(answer).toEqual(JSON.parse(alone.stdout));
    expect(outputOf(answer, 'generated_output').data).toHaveLength(1);
  });

  test('invoke explains itself, and refuses unknown options', async () => {
    expect(await main(['invoke', '--help'])).toMatchObject({
      exitCode: 0,
      stderr: '',
      stdout: expect.stringMatching(/--checkpoint.*--question/s),
    });
    const { exitCode, stdout } = await main(['invoke', 'invoke']);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      error: expect.stringMatching(/'invoke'.*--help/),
      code: 'INVALID_REQUEST',
    });
  });

  test.each(commands)(
    '%s --help names the program, and the command of a checkout; help %s says as much',
    async (name) => {
      const asked = await main([name, '--help']);
      expect(asked).toMatchObject({ exitCode: 0, stderr: '' });
      expect(asked.stdout).toMatch(new RegExp(`^Usage: blip-handler ${name}\\b.* in a checkout: npm \\S`));
      expect(asked.stdout).toMatch(/^ {2}--env-file FILE .*\n {2}--help .*\n/m);
      expect(await main(['help', name])).toEqual(asked);
    },
  );

  test('download takes a model and options', async () => {
    expect(await main(['download', '--help'])).toMatchObject({
      exitCode: 0,
      stderr: '',
      stdout: expect.stringContaining('--revision'),
    });
    expect(await main(['download'])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/^INVALID_REQUEST: Expected one model, got 0/),
    });
    expect(await main(['download', 'a/b', 'c/d'])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/^INVALID_REQUEST: Expected one model, got 2/),
    });
    expect(await main(['download', 'a/b@c', '--revision', 'd'])).toMatchObject({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringMatching(/^CHECKPOINT_NOT_FOUND: a\/b@c: expected one revision/),
    });
  });

  test('list_models prints a list', async () => {
    const { exitCode, stdout } = await main(['list_models'], { HF_HOME: temporaryFolder() });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^MODEL .*\nSalesforce\/blip/);
  });

  test('serve reads environment variables, and serves until a signal', async () => {
    const server = await startServerProcess(bundle, { BLIP_MODEL_NAME: 'mine' }, 'ready', ['main.js', 'serve']);
    try {
      expect(await send(server.url, { path: '/v2/models' })).toMatchObject({
        status: 200,
        text: '{"models":["mine"]}',
      });
    } finally {
      server.kill('SIGTERM');
    }
    expect(await server.exit).toMatchObject({ exitCode: 0, signal: null, stderr: '' });
  });

  test('serve reports the error that keeps it from starting', async () => {
    const { exitCode, stderr } = await main(['serve'], { BLIP_WORKERS: 'many' });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stderr)).toEqual({ error: expect.stringContaining('BLIP_WORKERS'), code: 'SETTINGS_INVALID' });
  });
});
