import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { inputSchemaText } from '../../build/inferless/input-schema.ts';
import { schemas } from '../../input_schema.ts';
import type { InputField } from '../../protocol/schema.ts';
import { builtBundle } from '../support/built-bundle.ts';
import { programEnvironment, startServerProcess } from '../support/bundle.ts';
import { dataUri } from '../support/server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** app.py in Python, driven as Inferless drives it, with the service as a process of its own. */

const hasPython = spawnSync('python3', ['--version'], { stdio: 'ignore' }).error === undefined;
const isWanted = hasPython || process.env['CI'] === 'true';
const suffix = isWanted ? '' : ' (skipped: python3 is not installed)';
const driver = fileURLToPath(new URL('inferless_platform.py', import.meta.url));

const image = dataUri('small');

interface Reply {
  readonly answer?: unknown;
  readonly error?: string;
}

/** A process of the platform's, with app.py imported. */
class Platform {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #replies: AsyncIterator<string>;
  stderr = '';

  constructor(folder: string, variables: Readonly<Record<string, string>> = {}) {
    this.#child = spawn('python3', [driver, folder], { env: programEnvironment({ BLIP_WORKERS: '1', ...variables }) });
    this.#replies = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
  }

  /** The next reply. Other lines are the service's log. */
  async reply(): Promise<unknown> {
    for (;;) {
      const { value, done } = await this.#replies.next();
      if (done === true) throw new Error(`Expected a reply, but the process ended: ${this.stderr}`);
      if (value.startsWith('reply ')) return JSON.parse(value.slice('reply '.length));
    }
  }

  async call(call: string, more: object = {}): Promise<Reply> {
    this.#child.stdin.write(`${JSON.stringify({ call, ...more })}\n`);
    return (await this.reply()) as Reply; // The driver answers calls with it.
  }

  infer(inputs: object, more: object = {}): Promise<Reply> {
    return this.call('infer', { inputs, ...more });
  }

  async pid(): Promise<number> {
    return Number((await this.call('pid')).answer);
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }

  /** Ends the process as at the end of its input. */
  async end(): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exit;
  }
}

/** Whether a process runs. One that has ended keeps its id until its parent asks how. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function ended(pid: number): Promise<void> {
  while (isAlive(pid)) await once(AbortSignal.timeout(20), 'abort');
}

/** The parts of an input that Inferless knows. */
function expectedSchema(task: keyof typeof schemas): object {
  const inputs: Readonly<Record<string, InputField>> = schemas[task].inputs;
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { datatype, required, shape, example }]) => [
      name,
      { datatype, required, shape, example },
    ]),
  );
}

describe.skipIf(!isWanted)(`app.py${suffix}`, () => {
  const { folder } = isWanted ? builtBundle() : { folder: '' };
  let platform: Platform;
  let schema: unknown;

  beforeAll(async () => {
    platform = new Platform(folder, { BLIP_AUTHORIZER: 'platform', BLIP_CHECKPOINT: '' });
    schema = await platform.reply();
    expect(await platform.call('initialize')).toEqual({ answer: null });
  });
  afterAll(async () => {
    const pid = await platform.pid();
    expect(await platform.call('finalize', { arguments: ['ignored'] })).toEqual({ answer: null });
    expect(isAlive(pid)).toBe(false);
    expect((await platform.infer({ img_url: image })).error).toContain('RuntimeError: NOT_READY');
    expect(await platform.call('finalize')).toEqual({ answer: null });
    await platform.end();
  });

  test('input_schema.py is read as Inferless reads it', () => {
    expect(schema).toEqual(expectedSchema('captioning'));
  });

  test('a dictionary of values is answered with one', async () => {
    expect(await platform.infer({ img_url: image })).toEqual({ answer: { generated_output: expect.any(String) } });
  });

  test('lists are answered with a list; None is as absent', async () => {
    const { answer } = await platform.infer({ img_url: [image, image], text: null });
    expect(answer).toEqual({ generated_output: [expect.any(String), expect.any(String)] });
  });

  test("numpy's values, and bytes of text or of an image, are taken", async () => {
    const { answer } = await platform.infer({ img_url: image, max_new_tokens: 5 });
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    const arrays = { arrays: ['max_new_tokens'], bytes: ['img_url'] };
    const asText = { img_url: hex(Buffer.from(image)), max_new_tokens: 5 };
    const asImage = { img_url: hex(Buffer.from(image.split(',')[1] ?? '', 'base64')), max_new_tokens: 5 };
    expect(await platform.infer(asText, arrays)).toEqual({ answer });
    expect(await platform.infer(asImage, arrays)).toEqual({ answer });
  });

  test('the sample request that Inferless makes of all examples is answered', async () => {
    const examples = Object.entries(schemas.captioning.inputs).map(([name, { example }]) => [name, example]);
    const { answer, error } = await platform.infer({ ...Object.fromEntries(examples), img_url: image });
    expect(error).toBeUndefined();
    expect(answer).toEqual({ generated_output: expect.any(String) });
  });

  test('a bad request is an exception with code and message, and the next one is answered', async () => {
    expect((await platform.infer({ text: 'a' })).error).toMatch(/^RuntimeError: INVALID_INPUT: Expected .*img_url/);
    expect((await platform.infer({ img_url: image, num_beam: 2 })).error).toContain('did you mean num_beams?');
    expect((await platform.infer({ img_url: 'http://127.0.0.1:9/' })).error).toContain('IMAGE_HOST_UNREACHABLE');
    expect(await platform.infer({ img_url: image })).toMatchObject({ answer: {} });
  });

  test('a service that died is told and started again', async () => {
    const pid = await platform.pid();
    process.kill(pid, 'SIGKILL');
    await ended(pid);
    const { answer, error } = await platform.infer({ img_url: image });
    expect(error).toBeUndefined();
    expect(answer).toMatchObject({ generated_output: expect.any(String) });
    expect(platform.stderr).toContain('the service ended with exit code -9; it starts again');
    expect(await platform.pid()).not.toBe(pid);
  });
});

describe.skipIf(!isWanted)(`app.py at its ends${suffix}`, () => {
  const { folder } = isWanted ? builtBundle() : { folder: '' };

  test('leaves no service when its process is killed', async () => {
    const platform = new Platform(folder);
    await platform.reply();
    await platform.call('initialize');
    const pid = await platform.pid();
    expect(isAlive(pid)).toBe(true);
    await platform.kill('SIGKILL');
    await ended(pid);
  });

  test('says that a service did not start, and why is in the log', async () => {
    const platform = new Platform(folder, { BLIP_CHECKPOINT: '/nowhere' });
    await platform.reply();
    expect((await platform.call('initialize')).error).toMatch(/^RuntimeError: The service ended with exit code 1/);
    expect(platform.stderr).toContain('CHECKPOINT_NOT_FOUND');
    await platform.end();
  });

  test('says that Node.js is missing', async () => {
    const sources = temporaryFolder();
    for (const name of ['app.py', 'input_schema.py']) copyFileSync(join(folder, name), join(sources, name));
    const python = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], {
      encoding: 'utf8',
    }).stdout.trim();
    symlinkSync(python, join(sources, 'python3'));
    const platform = new Platform(sources, { PATH: sources });
    await platform.reply();
    expect((await platform.call('initialize')).error).toContain('inferless-runtime-config.yaml');
    await platform.end();
  });

  test.each(Object.keys(schemas) as (keyof typeof schemas)[])('has a schema of %s that Python reads', (task) => {
    const program =
      'import json,sys; data={}; exec(sys.stdin.read(), {}, data); print(json.dumps(data["INPUT_SCHEMA"]))';
    const { stdout } = spawnSync('python3', ['-c', program], { input: inputSchemaText(task), encoding: 'utf8' });
    expect(JSON.parse(stdout)).toEqual(expectedSchema(task));
  });
});

describe('inferless.yaml', () => {
  const { health_api, infer_api, server_port, docker_file_path } = parse(
    readFileSync(new URL('../../inferless.yaml', import.meta.url), 'utf8'),
  );
  const dockerfile = readFileSync(new URL(`../../${docker_file_path}`, import.meta.url), 'utf8');

  test('names a Dockerfile and its port', () => {
    expect(dockerfile).toContain(`EXPOSE ${server_port}\n`);
  });

  test('names paths that answer as Inferless asks, without tokens where the platform authorizes', async () => {
    const server = await startServerProcess(builtBundle(), { BLIP_AUTHORIZER: 'platform', BLIP_WORKERS: '1' });
    const body = {
      inputs: [
        { name: 'img_url', shape: [1], data: [image], datatype: 'BYTES' },
        { name: 'text', optional: true, shape: [1], data: ['a picture of'], datatype: 'BYTES' },
      ],
    };
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    expect((await fetch(`${server.url}${health_api}`)).status).toBe(200);
    const answer = await fetch(`${server.url}${infer_api}`, init);
    expect(await answer.json()).toMatchObject({ outputs: [{ name: 'generated_output', shape: [1] }] });
    // Inferless takes the model's name from /v2, and asks whether it is ready.
    const { name } = (await (await fetch(`${server.url}/v2`)).json()) as { name: string }; // The route's answer.
    for (const path of [`/v2/models/${name}`, `/v2/models/${name}/ready`, '/v2/health/live'])
      expect((await fetch(`${server.url}${path}`)).status).toBe(200);
    server.kill('SIGTERM');
    await server.exit;
  });
});
