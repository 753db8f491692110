import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import Handler from '../../app.ts';
import type { Environment } from '../../checkpoint/hub/hub-settings.ts';
import type { StartOptions } from '../../pipeline/model.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { checkpointFolder } from '../support/goldens.ts';
import {
  COMMIT,
  type Files,
  fixtureFiles,
  hubEnvironment,
  MODEL,
  stallAfter,
  startHub,
  status,
} from '../support/hub-server.ts';
import { readGoldenPresets } from '../support/preset-goldens.ts';
import { dataUri, testSettings } from '../support/server.ts';

/** The whole handler over a checkpoint that is named, not a folder. The Hub is one on loopback. */

afterEach(() => vi.unstubAllEnvs());

/** The handler reads this process' environment. */
function useEnvironment(environment: Environment): void {
  const cleared = ['HF_TOKEN', 'HF_HUB_CACHE', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'HTTP_PROXY', 'http_proxy'];
  for (const name of cleared) vi.stubEnv(name, '');
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value ?? '');
}

async function load(changes: Partial<Settings>, options: StartOptions = {}): Promise<Handler> {
  const model = new Handler(testSettings(changes));
  await model.initialize(options);
  return model;
}

/** Loads a checkpoint, asks it once, and lets it go. */
async function answerOf(checkpoint: string, inputs: object, options: StartOptions = {}): Promise<unknown> {
  const model = await load({ checkpoint }, options);
  const { outputs } = await model.inferTensors({ inputs });
  await model.finalize();
  return outputs;
}

function filesOf(name: Parameters<typeof checkpointFolder>[0]): Files {
  const folder = checkpointFolder(name);
  return Object.fromEntries(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file))]));
}

const picture = { img_url: dataUri('chelsea') };

describe('a checkpoint of the Hub', () => {
  test('is downloaded, answers as its folder does, and the second time nothing is asked', async () => {
    const hub = await startHub();
    const environment = hubEnvironment(hub);
    useEnvironment(environment);
    hub.fail('/config.json', status(503));
    const notices: string[] = [];
    const model = await load({ checkpoint: MODEL }, { onNotice: (line) => notices.push(line) });
    expect(model.model?.checkpoint.folder).toBe(
      join(environment['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model', 'snapshots', COMMIT),
    );
    expect(notices.join('\n')).toMatch(/Owner\/Some-Model.*503; trying again/);
    expect(hub.requests.length).toBeGreaterThan(5);
    const first = await model.inferTensors({ inputs: picture });
    await model.finalize();
    expect(first.outputs).toEqual(await answerOf(checkpointFolder('narrow-vision'), picture));

    hub.requests.length = 0;
    notices.length = 0;
    expect(await answerOf(MODEL, picture, { onNotice: (line) => notices.push(line) })).toEqual(first.outputs);
    expect([hub.requests, notices]).toEqual([[], []]);
  });

  test('of shards, at a revision', async () => {
    const hub = await startHub(fixtureFiles('sharded-float16'));
    hub.setRevision('refs/pr/18', COMMIT);
    useEnvironment(hubEnvironment(hub));
    const wanted = await answerOf(checkpointFolder('sharded-float16'), picture);
    expect(await answerOf(`${MODEL}@refs/pr/18`, picture)).toEqual(wanted);
    hub.requests.length = 0;
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await answerOf(`${MODEL}@refs/pr/18`, picture)).toEqual(wanted);
    expect(hub.requests).toEqual([]);
  });

  test.each([
    ['untied-bfloat16', {}],
    ['answers-float16', { question: 'red' }],
    ['retrieval-bfloat16', { text: ['a cat', 'x'] }],
    ['clip-real-end', { text: ['a cat', 'x'] }],
  ] as const)('of every task and form is enough to answer with: %s', async (name, inputs) => {
    const hub = await startHub({
      ...filesOf(name),
      'README.md': Buffer.from('# A model'),
      'flax_model.msgpack': Buffer.alloc(9),
    });
    useEnvironment(hubEnvironment(hub));
    const asked = { ...picture, ...inputs };
    expect(await answerOf(MODEL, asked)).toEqual(await answerOf(checkpointFolder(name), asked));
    expect(hub.requests.filter(({ path }) => /README|flax/.test(path))).toEqual([]);
  });

  test('may have its image processor in processor_config.json alone', async () => {
    const { 'preprocessor_config.json': _, ...files } = filesOf('clip-real-end');
    const processor = readGoldenPresets().processors['clip-real-end'];
    const hub = await startHub({ ...files, 'processor_config.json': Buffer.from(JSON.stringify(processor)) });
    useEnvironment(hubEnvironment(hub));
    const wanted = await answerOf(checkpointFolder('clip-real-end'), picture);
    expect(await answerOf(MODEL, picture)).toEqual(wanted);
    hub.requests.length = 0;
    expect(await answerOf(MODEL, picture)).toEqual(wanted);
    expect(hub.requests).toEqual([]);
  });

  test('is served at another image size as well', async () => {
    const hub = await startHub();
    useEnvironment(hubEnvironment(hub));
    const sizes = [];
    for (const checkpoint of [MODEL, checkpointFolder('narrow-vision')]) {
      const model = await load({ checkpoint, imageSize: 40 });
      sizes.push((await model.inferTensors({ inputs: picture })).outputs);
      await model.finalize();
    }
    expect(sizes[0]).toEqual(sizes[1]);
  });
});

describe('a start that ends without a model', () => {
  test('offline with nothing cached it says what is missing and where it comes from', async () => {
    useEnvironment({ HF_HUB_OFFLINE: '1', ...hubEnvironment({ url: 'http://127.0.0.1:9' }) });
    const model = new Handler(testSettings({ checkpoint: MODEL }));
    await expect(model.initialize()).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_CACHED',
      message: expect.stringMatching(
        /config\.json.*preprocessor_config\.json.*tokenizer\.json.*model\.safetensors.*npm run download/,
      ),
    });
    expect(model.model).toBeUndefined();
    await model.finalize();
  });

  test('the Hub has no such model', async () => {
    const hub = await startHub();
    useEnvironment(hubEnvironment(hub));
    await expect(load({ checkpoint: 'Nobody/Has-This' })).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_FOUND',
      message: expect.stringContaining('Nobody/Has-This'),
    });
  });

  test('neither a folder nor a name of the Hub', async () => {
    await expect(load({ checkpoint: 'no/such/folder' })).rejects.toMatchObject({ code: 'CHECKPOINT_NOT_FOUND' });
  });

  test('the end of a start ends its download, and the next start continues it', async () => {
    const hub = await startHub();
    useEnvironment(hubEnvironment(hub));
    const controller = new AbortController();
    hub.fail('/config.json', (response, answer, request) => {
      controller.abort(new Error('Told to stop.'));
      stallAfter(0)(response, answer, request);
    });
    const model = new Handler(testSettings({ checkpoint: MODEL }));
    await expect(model.initialize({ signal: controller.signal })).rejects.toThrow(/Told to stop|abort/);
    expect(model.model).toBeUndefined();
    await model.initialize();
    expect(await model.infer(picture)).toHaveProperty('generated_output');
    await model.finalize();
  });
});
