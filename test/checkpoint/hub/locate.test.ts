import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { Environment } from '../../../checkpoint/hub/hub-settings.ts';
import {
  COMMIT,
  fixtureFiles,
  hubEnvironment,
  MODEL,
  OTHER_COMMIT,
  quickLimits,
  startHub,
  status,
} from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** Counts how often the libraries that open the network are loaded. */
const loads = vi.hoisted(() => ({ count: 0 }));
vi.mock('@huggingface/hub', async (importOriginal) => {
  loads.count += 1;
  return await importOriginal();
});
vi.mock('undici', async (importOriginal) => {
  loads.count += 1;
  return await importOriginal();
});

/** Fresh modules for each test, so that loading counts. */
async function locate(reference: string, environment: Environment, onNotice = (_line: string): void => undefined) {
  const { locateCheckpoint } = await import('../../../checkpoint/hub/locate.ts');
  return await locateCheckpoint(reference, environment, { limits: quickLimits, onNotice });
}

beforeEach(() => {
  vi.resetModules();
  loads.count = 0;
});

const files = fixtureFiles('untied-bfloat16');
const nowhere = { url: 'http://127.0.0.1:9' };

/** A cache as Python leaves it: no markers of what the Hub does not have. */
function pythonCache(names: readonly string[]): { readonly environment: Environment; readonly snapshot: string } {
  const environment = hubEnvironment(nowhere);
  const repository = join(environment['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model');
  const snapshot = join(repository, 'snapshots', COMMIT);
  mkdirSync(snapshot, { recursive: true });
  mkdirSync(join(repository, 'refs'));
  writeFileSync(join(repository, 'refs', 'main'), COMMIT);
  for (const name of names) writeFileSync(join(snapshot, name), files[name] ?? 'x');
  return { environment, snapshot };
}

describe('a folder', () => {
  test('is taken as it is, without loading the libraries of downloads', async () => {
    const folder = temporaryFolder();
    expect(await locate(folder, hubEnvironment(nowhere))).toBe(folder);
    expect(loads.count).toBe(0);
  });

  test('wins over a model of the same name', async () => {
    const folder = temporaryFolder({ 'Owner/Some-Model/config.json': '{}' });
    const before = process.cwd();
    process.chdir(folder);
    try {
      expect(await locate(MODEL, hubEnvironment(nowhere))).toBe(MODEL);
    } finally {
      process.chdir(before);
    }
  });

  test.each(['./none', '/none/at/all', 'none'])('that is not there: %s', async (path) => {
    await expect(locate(path, hubEnvironment(nowhere))).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_FOUND',
      message: expect.stringContaining(`${path}: expected a checkpoint folder`),
    });
    expect(loads.count).toBe(0);
  });
});

describe('offline', () => {
  test('a model that was never downloaded: what is missing, where it is and how to get it', async () => {
    const environment = hubEnvironment({ url: 'https://mirror.example' }, { HF_HUB_OFFLINE: '1' });
    await expect(locate(`${MODEL}@refs/pr/18`, environment)).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_CACHED',
      message:
        `${MODEL}@refs/pr/18: expected all its files in ${environment['HF_HOME']}/hub, as HF_HUB_OFFLINE is set; ` +
        'got no config.json, no preprocessor_config.json, ' +
        'no tokenizer.json (or vocab.txt, or vocab.json and merges.txt, or spiece.model, or tokenizer.model), ' +
        'no model.safetensors (or another form of the weights). ' +
        `They come from https://mirror.example/${MODEL}: ` +
        `run "npm run download -- ${MODEL}@refs/pr/18" where there is a network.`,
    });
    expect(loads.count).toBe(0);
  });

  test('a download without its end', async () => {
    const hub = await startHub(fixtureFiles('sharded-float16'));
    const environment = hubEnvironment(hub);
    hub.fail('/model-00007', status(418));
    await expect(locate(MODEL, environment)).rejects.toMatchObject({ code: 'CHECKPOINT_DOWNLOAD_FAILED' });
    const commit = `${MODEL}@${COMMIT}`; // A branch is remembered at the end of a download only.
    await expect(locate(commit, { ...environment, HF_HUB_OFFLINE: '1' })).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_CACHED',
      message: expect.stringMatching(
        /got no model-00007-of-00010.safetensors, no model-00008-of-00010.safetensors, no model-00009-of-00010.safetensors, no model-00010-of-00010.safetensors\./,
      ),
    });
  });

  test('a link to nothing is missing', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const folder = await locate(MODEL, environment);
    const blobs = join(folder, '../../blobs');
    for (const name of readdirSync(blobs)) if (name.length === 64) rmSync(join(blobs, name));
    await expect(locate(MODEL, { ...environment, HF_HUB_OFFLINE: '1' })).rejects.toMatchObject({
      message: expect.stringContaining('got no model.safetensors'),
    });
    expect(await locate(MODEL, environment)).toBe(folder);
  });

  test('a whole model needs no network', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const folder = await locate(MODEL, environment);
    vi.resetModules();
    loads.count = 0;
    hub.requests.length = 0;
    expect(await locate(MODEL, { ...environment, HF_HUB_OFFLINE: '1' })).toBe(folder);
    expect(await locate(MODEL, environment)).toBe(folder);
    expect([loads.count, hub.requests]).toEqual([0, []]);
  });
});

describe('a cache that Python filled', () => {
  test('is enough offline without the optional files', async () => {
    const { environment, snapshot } = pythonCache(Object.keys(files));
    expect(await locate(MODEL, { ...environment, TRANSFORMERS_OFFLINE: '1' })).toBe(snapshot);
  });

  test('is not enough without the configuration of the images', async () => {
    const { environment } = pythonCache(Object.keys(files).filter((name) => name !== 'preprocessor_config.json'));
    await expect(locate(MODEL, { ...environment, HF_HUB_OFFLINE: '1' })).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_CACHED',
      message: expect.stringContaining('got no preprocessor_config.json.'),
    });
  });

  test('gets missing files from the Hub, and asks nothing the next time', async () => {
    const hub = await startHub({ ...files, 'generation_config.json': Buffer.from('{}') });
    const { environment: unreachable, snapshot } = pythonCache(Object.keys(files));
    const environment = { ...unreachable, HF_ENDPOINT: hub.url };
    expect(await locate(MODEL, environment)).toBe(snapshot);
    expect(readdirSync(snapshot)).toContain('generation_config.json');
    expect(hub.requests.filter(({ path }) => path.includes('/resolve/'))).toHaveLength(1);
    hub.requests.length = 0;
    expect(await locate(MODEL, environment)).toBe(snapshot);
    expect(hub.requests).toEqual([]);
  });

  test('stays at its commit when the branch has moved on', async () => {
    const hub = await startHub(files);
    hub.setFiles(OTHER_COMMIT, fixtureFiles('narrow-vision'));
    hub.setRevision('main', OTHER_COMMIT);
    const { environment, snapshot } = pythonCache(Object.keys(files));
    expect(await locate(MODEL, { ...environment, HF_ENDPOINT: hub.url })).toBe(snapshot);
    expect(readdirSync(join(snapshot, '..'))).toEqual([COMMIT]);
    expect(readFileSync(join(snapshot, '../../refs/main'), 'utf8')).toBe(COMMIT);
  });

  test('is enough when the Hub cannot be reached, which is tried once', async () => {
    const { environment, snapshot } = pythonCache(Object.keys(files));
    const notices: string[] = [];
    expect(await locate(MODEL, environment, (line) => notices.push(line))).toBe(snapshot);
    expect(notices).toEqual([
      expect.stringContaining('fetched from'),
      expect.stringContaining(`The files of the cache are used: ${snapshot}`),
    ]);
  });

  test('with other weights than the preferred form fetches that form', async () => {
    const hub = await startHub(files);
    const names = Object.keys(files).filter((name) => name !== 'model.safetensors');
    const { environment, snapshot } = pythonCache([...names, 'pytorch_model.bin']);
    expect(await locate(MODEL, { ...environment, HF_HUB_OFFLINE: '1' })).toBe(snapshot);
    await locate(MODEL, { ...environment, HF_ENDPOINT: hub.url });
    expect(readdirSync(snapshot)).toContain('model.safetensors');
  });
});
