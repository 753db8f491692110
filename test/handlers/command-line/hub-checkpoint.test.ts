import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { type Exit, runProgram, startProgram, startServerProcess } from '../../support/bundle.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { COMMIT, hubEnvironment, MODEL, startHub, status } from '../../support/hub-server.ts';
import { bytes, dataUri, outputOf, postInference, readAnswer } from '../../support/server.ts';

/** BLIP_CHECKPOINT=owner/name, with programs of the bundle and a Hub on loopback. */

const bundle = builtBundle();

type Variables = Readonly<Record<string, string>>;

/** The variables of the tests' environment, which all have values. */
function variablesOf(environment: ReturnType<typeof hubEnvironment>): Variables {
  return Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, value ?? '']));
}

const invoke = (variables: Variables, ...args: readonly string[]) =>
  runProgram(bundle, 'invoke.js', { args, variables });

function captionsOf({ exitCode, stdout, stderr }: Exit): readonly unknown[] {
  expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: expect.stringMatching(/^\{[^\n]*\}\n$/) });
  return outputOf(JSON.parse(stdout), 'generated_output').data;
}

describe('invoke', () => {
  test('downloads the checkpoint and answers; a second run sends no request to the Hub', async () => {
    const hub = await startHub();
    const variables = { ...variablesOf(hubEnvironment(hub)), BLIP_CHECKPOINT: MODEL };
    const first = await invoke(variables);
    expect(captionsOf(first)).toEqual(captionsOf(await invoke({ BLIP_CHECKPOINT: checkpointFolder('narrow-vision') })));
    expect(first.stderr).toContain(`Loading ${MODEL}`);
    expect(first.stderr).toMatch(/Ready in \d/);
    expect(hub.requests.length).toBeGreaterThan(5);

    hub.requests.length = 0;
    expect(captionsOf(await invoke(variables))).toEqual(captionsOf(first));
    expect(captionsOf(await invoke({ ...variables, HF_HUB_OFFLINE: '1' }))).toEqual(captionsOf(first));
    expect(hub.requests).toEqual([]);
  });

  test('takes a name and a revision as --checkpoint', async () => {
    const hub = await startHub();
    hub.setRevision('refs/pr/18', COMMIT);
    const exit = await invoke(variablesOf(hubEnvironment(hub)), '--checkpoint', `${MODEL}@refs/pr/18`);
    expect(captionsOf(exit)).toHaveLength(1);
    expect(hub.requests[0]?.path).toContain('refs%2Fpr%2F18');
  });

  test('finds what the download command has fetched', async () => {
    const hub = await startHub();
    const variables = variablesOf(hubEnvironment(hub));
    const downloaded = await runProgram(bundle, 'main.js', { args: ['download', MODEL], variables });
    expect(downloaded).toMatchObject({
      exitCode: 0,
      stdout: `${join(variables['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model', 'snapshots', COMMIT)}\n`,
    });
    hub.requests.length = 0;
    const offline = { ...variables, BLIP_CHECKPOINT: MODEL, HF_HUB_OFFLINE: '1' };
    expect(captionsOf(await runProgram(bundle, 'main.js', { args: ['invoke'], variables: offline }))).toHaveLength(1);
    expect(hub.requests).toEqual([]);
  });

  test('fails offline with an empty cache: exit code 1, and JSON that names the missing checkpoint', async () => {
    const hub = await startHub();
    const variables = { ...variablesOf(hubEnvironment(hub)), BLIP_CHECKPOINT: MODEL, HF_HUB_OFFLINE: '1' };
    const { exitCode, stdout } = await invoke(variables);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: expect.stringMatching(/^\{[^\n]*\}\n$/) });
    const { error } = JSON.parse(stdout);
    for (const part of [
      MODEL,
      'config.json',
      'preprocessor_config.json',
      'tokenizer.json',
      'model.safetensors',
      hub.url,
    ])
      expect(error).toContain(part);
    expect(hub.requests).toEqual([]);
  });

  test('leaves the downloaded part to the next run when SIGINT ends it', async () => {
    const hub = await startHub();
    hub.fail('/config.json', () => undefined); // The Hub never answers.
    const variables: Variables = { ...variablesOf(hubEnvironment(hub)), BLIP_CHECKPOINT: MODEL };
    const { child, exit } = startProgram(bundle, 'invoke.js', [], bundle.folder, variables);
    while (!hub.requests.some(({ path }) => path.includes('/config.json')))
      await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill('SIGINT');
    const { exitCode, stdout } = await exit;
    expect([exitCode, JSON.parse(stdout)]).toEqual([1, { error: expect.any(String), code: 'CANCELLED' }]);
    const blobs = join(variables['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model', 'blobs');
    const [left = ''] = readdirSync(blobs).filter((name) => name.endsWith('.incomplete'));
    expect(statSync(join(blobs, left)).mtimeMs).toBe(0); // Nobody needs to wait for it.
  });

  test('fails for a model that the Hub does not have: exit code 1, and JSON that names it', async () => {
    const hub = await startHub();
    const { exitCode, stdout } = await invoke(variablesOf(hubEnvironment(hub)), '--checkpoint', 'Nobody/Has-This');
    expect({ exitCode, stdout }).toEqual({
      exitCode: 1,
      stdout: expect.stringMatching(/^\{"error":.*Nobody\/Has-This.*\}\n$/),
    });
  });
});

describe('the server', () => {
  test('downloads the checkpoint before it is ready, and logs the progress', async () => {
    const hub = await startHub();
    hub.fail('/config.json', status(503));
    const server = await startServerProcess(bundle, { ...variablesOf(hubEnvironment(hub)), BLIP_CHECKPOINT: MODEL });
    try {
      const answer = await postInference(server.url, { inputs: [bytes('img_url', [dataUri('small')])] });
      expect(outputOf(readAnswer(answer), 'generated_output').data).toHaveLength(1);
      expect(
        server
          .log()
          .map(({ msg }) => String(msg))
          .join('\n'),
      ).toMatch(/Owner\/Some-Model.*503; trying again/);
    } finally {
      server.kill('SIGTERM');
    }
    expect(await server.exit).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('ends at once when a signal comes during the download', async () => {
    const hub = await startHub();
    hub.fail('/config.json', () => undefined); // The Hub never answers.
    const variables = { ...variablesOf(hubEnvironment(hub)), BLIP_CHECKPOINT: MODEL };
    const server = await startServerProcess(bundle, variables, 'listening');
    while (!hub.requests.some(({ path }) => path.includes('/config.json')))
      await new Promise((resolve) => setTimeout(resolve, 20));
    server.kill('SIGTERM');
    expect(await server.exit).toMatchObject({ exitCode: 0, signal: null, stderr: '' });
  });

  test('does not start offline with an empty cache, and names the missing checkpoint', async () => {
    const variables = {
      ...variablesOf(hubEnvironment({ url: 'http://127.0.0.1:9' })),
      BLIP_CHECKPOINT: MODEL,
      HF_HUB_OFFLINE: '1',
    };
    const { exitCode, stderr } = await runProgram(bundle, 'serve.js', { variables: { ...variables, PORT: '0' } });
    expect(exitCode).toBe(1);
    expect(JSON.parse(stderr).error).toMatch(/config\.json.*model\.safetensors/);
  });
});
