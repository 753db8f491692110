import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { getHFHubCachePath, getRepoFolderName, scanCachedRepo } from '@huggingface/hub';
import { describe, expect, test } from 'vitest';
import { downloadCheckpoint } from '../../../checkpoint/hub/download.ts';
import type { Environment } from '../../../checkpoint/hub/hub-settings.ts';
import { locateCheckpoint } from '../../../checkpoint/hub/locate.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import {
  COMMIT,
  type Files,
  fixtureFiles,
  gitBlobSha1,
  hubEnvironment,
  MODEL,
  OTHER_COMMIT,
  quickLimits,
  sha256,
  startHub,
} from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const reference = { name: MODEL, revision: 'main' };
const options = { limits: quickLimits };

function repositoryFolder(environment: Environment): string {
  return join(environment['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model');
}

/** Every file below a folder with its link target, or its size. */
function contents(folder: string): Readonly<Record<string, string | number>> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => !lstatSync(path).isDirectory());
  return Object.fromEntries(
    files.map((path) => [
      relative(folder, path),
      lstatSync(path).isSymbolicLink() ? readlinkSync(path) : lstatSync(path).size,
    ]),
  );
}

function expectFiles(folder: string, files: Files): void {
  for (const [name, bytes] of Object.entries(files))
    expect(readFileSync(join(folder, name))).toEqual(Buffer.from(bytes));
}

describe('into the cache', () => {
  test('lays it out as huggingface_hub does', async () => {
    const files = fixtureFiles('narrow-vision');
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const folder = await downloadCheckpoint(reference, environment, options);

    const repository = repositoryFolder(environment);
    expect(folder).toBe(join(repository, 'snapshots', COMMIT));
    expectFiles(folder, files);
    const etag = (bytes: Uint8Array) => (bytes.length > 15_000 ? sha256(bytes) : gitBlobSha1(bytes));
    const absent = [
      'processor_config.json',
      'generation_config.json',
      'vocab.txt',
      'vocab.json',
      'merges.txt',
      'spiece.model',
      'tokenizer.model',
      'added_tokens.json',
      'special_tokens_map.json',
    ];
    expect(contents(repository)).toEqual({
      'refs/main': 40,
      ...Object.fromEntries(Object.values(files).map((bytes) => [`blobs/${etag(bytes)}`, bytes.length])),
      ...Object.fromEntries(
        Object.entries(files).map(([name, bytes]) => [`snapshots/${COMMIT}/${name}`, `../../blobs/${etag(bytes)}`]),
      ),
      ...Object.fromEntries(absent.map((name) => [`.no_exist/${COMMIT}/${name}`, 0])),
    });
    expect(readFileSync(join(repository, 'refs/main'), 'utf8')).toBe(COMMIT);
  });

  test('is read by @huggingface/hub, whose names for folders it has', async () => {
    const environment = hubEnvironment(await startHub());
    await downloadCheckpoint(reference, environment, options);
    const repository = repositoryFolder(environment);
    expect(repository.endsWith(join('hub', getRepoFolderName({ type: 'model', name: MODEL })))).toBe(true);
    expect(getHFHubCachePath().endsWith('hub')).toBe(true);
    const scanned = await scanCachedRepo(repository);
    expect(scanned.revisions).toMatchObject([{ commitOid: COMMIT, refs: ['main'] }]);
    expect(scanned.filesCount).toBe(5);
  });

  test('opens as a checkpoint', async () => {
    const folder = await downloadCheckpoint(reference, hubEnvironment(await startHub()), options);
    expect(openWeights(folder).regions.size).toBeGreaterThan(10);
  });

  test('asks for every file once, and a second call for none', async () => {
    const hub = await startHub();
    const environment = hubEnvironment(hub);
    const folder = await locateCheckpoint(MODEL, environment, options);
    expect(hub.requests.map(({ path }) => path.replace(/\?.*/, '').replace(/^\/[0-9a-f]{64}$/, '/SHA256'))).toEqual([
      `/api/models/${MODEL}/revision/main`,
      `/api/models/${MODEL}/tree/${COMMIT}`,
      `/${MODEL}/resolve/${COMMIT}/config.json`,
      `/${MODEL}/resolve/${COMMIT}/preprocessor_config.json`,
      `/${MODEL}/resolve/${COMMIT}/tokenizer.json`,
      `/${MODEL}/resolve/${COMMIT}/tokenizer_config.json`,
      `/${MODEL}/resolve/${COMMIT}/model.safetensors`,
      '/SHA256',
    ]);
    hub.requests.length = 0;
    expect(await locateCheckpoint(MODEL, environment, options)).toBe(folder);
    expect(await locateCheckpoint(`${MODEL}@${COMMIT}`, environment, options)).toBe(folder);
    expect(hub.requests).toEqual([]);
  });

  test('follows the revision when it is downloaded again, and keeps what both have', async () => {
    const files = fixtureFiles('narrow-vision');
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const first = await downloadCheckpoint(reference, environment, options);
    hub.setFiles(OTHER_COMMIT, { ...files, 'generation_config.json': Buffer.from('{}') });
    hub.setRevision('main', OTHER_COMMIT);
    hub.requests.length = 0;
    expect(await locateCheckpoint(MODEL, environment, options)).toBe(first);
    expect(hub.requests).toEqual([]);
    const second = await downloadCheckpoint(reference, environment, options);
    expect(second).toBe(join(repositoryFolder(environment), 'snapshots', OTHER_COMMIT));
    expect(hub.requests.filter(({ path }) => path.includes('/resolve/')).map(({ path }) => path)).toEqual([
      `/${MODEL}/resolve/${OTHER_COMMIT}/generation_config.json`,
    ]);
    expect(await locateCheckpoint(MODEL, environment, options)).toBe(second);
  });

  test('encodes the slashes of a revision', async () => {
    const hub = await startHub();
    hub.setFiles(OTHER_COMMIT, fixtureFiles('untied-bfloat16'));
    hub.setRevision('refs/pr/18', OTHER_COMMIT);
    const environment = hubEnvironment(hub);
    const folder = await locateCheckpoint(`${MODEL}@refs/pr/18`, environment, options);
    expectFiles(folder, fixtureFiles('untied-bfloat16'));
    expect(hub.requests[0]?.path).toContain(`/api/models/${MODEL}/revision/refs%2Fpr%2F18?`);
    expect(readFileSync(join(repositoryFolder(environment), 'refs/refs/pr/18'), 'utf8')).toBe(OTHER_COMMIT);
    hub.requests.length = 0;
    expect(await locateCheckpoint(`${MODEL}@refs/pr/18`, environment, options)).toBe(folder);
    expect(hub.requests).toEqual([]);
  });

  test('fetches an index with its shards', async () => {
    const files = fixtureFiles('sharded-float16');
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const folder = await locateCheckpoint(MODEL, environment, options);
    expectFiles(folder, files);
    expect(openWeights(folder).regions.size).toBeGreaterThan(10);
    hub.requests.length = 0;
    expect(await locateCheckpoint(MODEL, environment, options)).toBe(folder);
    expect(hub.requests).toEqual([]);
  });

  test.each([
    [['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin'], ['model.safetensors']],
    [
      ['model.safetensors.index.json', 'shard-1.safetensors', 'pytorch_model.bin'],
      ['model.safetensors.index.json', 'shard-1.safetensors'],
    ],
    [['pytorch_model.bin', 'pytorch_model.bin.index.json', 'tf_model.h5'], ['pytorch_model.bin']],
    [
      ['pytorch_model.bin.index.json', 'shard-1.safetensors', 'README.md'],
      ['pytorch_model.bin.index.json', 'shard-1.safetensors'],
    ],
  ])('of the weights %j, fetches %j', async (weights, taken) => {
    const index = Buffer.from('{"weight_map": {"a": "shard-1.safetensors", "b": "shard-1.safetensors"}}');
    const others = Object.fromEntries(
      weights.map((name) => [name, name.endsWith('.json') ? index : Buffer.from(name)]),
    );
    const hub = await startHub({ 'config.json': Buffer.from('{}'), 'vocab.txt': Buffer.from('[PAD]'), ...others });
    const environment = hubEnvironment(hub);
    const folder = await locateCheckpoint(MODEL, environment, options);
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'vocab.txt', ...taken].sort());
    hub.requests.length = 0;
    expect(await locateCheckpoint(MODEL, environment, options)).toBe(folder);
    expect(hub.requests).toEqual([]);
  });

  test.each([
    [['README.md'], 'expected a config.json on the Hub, got none.'],
    [['adapter_config.json', 'adapter_model.safetensors'], 'got an adapter of PEFT; download its folder'],
  ])('of a model that has only %j, fetches nothing', async (names, words) => {
    const hub = await startHub(Object.fromEntries(names.map((name) => [name, Buffer.from(name)])));
    const located = locateCheckpoint(MODEL, hubEnvironment(hub), options);
    await expect(located).rejects.toMatchObject({
      code: 'CHECKPOINT_CONFIG_INVALID',
      message: expect.stringContaining(words),
    });
  });

  test('makes plain files where there are no symlinks', async () => {
    const files = fixtureFiles('untied-bfloat16');
    const hub = await startHub(files);
    const environment = hubEnvironment(hub, { HF_HUB_DISABLE_SYMLINKS: '1' });
    const folder = await locateCheckpoint(MODEL, environment, options);
    expectFiles(folder, files);
    expect(readdirSync(folder).some((name) => lstatSync(join(folder, name)).isSymbolicLink())).toBe(false);
    expect(readdirSync(join(repositoryFolder(environment), 'blobs'))).toEqual([]);
    hub.requests.length = 0;
    expect(await locateCheckpoint(MODEL, environment, options)).toBe(folder);
    expect(hub.requests).toEqual([]);
  });

  test('copies a blob that other snapshots may point to', async () => {
    const files = fixtureFiles('untied-bfloat16');
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const first = await downloadCheckpoint(reference, environment, options);
    hub.setFiles(OTHER_COMMIT, files);
    const other = { name: MODEL, revision: OTHER_COMMIT };
    const second = await downloadCheckpoint(other, { ...environment, HF_HUB_DISABLE_SYMLINKS: '1' }, options);
    expectFiles(first, files);
    expectFiles(second, files);
  });

  test('reports its progress', async () => {
    const files = fixtureFiles('sharded-float16');
    const totalBytes = Object.values(files).reduce((sum, bytes) => sum + bytes.length, 0);
    const seen: { file: string; receivedBytes: number; totalBytes: number }[] = [];
    await downloadCheckpoint(reference, hubEnvironment(await startHub(files)), {
      ...options,
      onProgress: (progress) => seen.push(progress),
    });
    expect(seen.at(-1)).toEqual({ file: 'model-00010-of-00010.safetensors', receivedBytes: totalBytes, totalBytes });
    const received = seen.map(({ receivedBytes }) => receivedBytes);
    expect(received).toEqual([...received].sort((one, other) => one - other));
  });
});

describe('into a folder', () => {
  test('writes plain files and nothing else', async () => {
    const files = fixtureFiles('narrow-vision');
    const hub = await startHub({ ...files, 'README.md': Buffer.from('# Hello') });
    const environment = hubEnvironment(hub);
    const folder = join(temporaryFolder(), 'new', 'folder');
    expect(await downloadCheckpoint(reference, environment, { ...options, folder })).toBe(folder);
    expectFiles(folder, files);
    expect(readdirSync(folder).sort()).toEqual(Object.keys(files).sort());
    expect(readdirSync(folder).some((name) => lstatSync(join(folder, name)).isSymbolicLink())).toBe(false);
    expect(existsSync(environment['HF_HOME'] ?? '')).toBe(false);
  });

  test('keeps equal files and replaces different ones', async () => {
    const files = fixtureFiles('narrow-vision');
    const hub = await startHub(files);
    const folder = temporaryFolder(files);
    const weightsTime = statSync(join(folder, 'model.safetensors')).mtimeMs;
    const sameSize = Buffer.from(files['config.json'] ?? []).fill(32);
    writeFileSync(join(folder, 'config.json'), sameSize);
    await downloadCheckpoint(reference, hubEnvironment(hub), { ...options, folder });
    expectFiles(folder, files);
    expect(statSync(join(folder, 'model.safetensors')).mtimeMs).toBe(weightsTime);
    expect(hub.requests.filter(({ path }) => path.includes('/resolve/'))).toHaveLength(1);
  });
});

describe('offline', () => {
  test('a whole folder is enough, and the error of another names the missing files', async () => {
    const hub = await startHub();
    const environment = hubEnvironment(hub, { HF_HUB_OFFLINE: '1' });
    const folder = temporaryFolder(fixtureFiles('narrow-vision'));
    expect(await downloadCheckpoint(reference, environment, { ...options, folder })).toBe(folder);
    const empty = temporaryFolder();
    await expect(downloadCheckpoint(reference, environment, { ...options, folder: empty })).rejects.toMatchObject({
      code: 'CHECKPOINT_NOT_CACHED',
      message: expect.stringContaining(empty),
    });
    expect(hub.requests).toEqual([]);
  });
});

describe('a model of slow tokenizers', () => {
  const { 'tokenizer.json': _fast, ...rest } = fixtureFiles('narrow-vision');
  const slow: Files = {
    ...rest,
    ...fixtureFiles('untied-bfloat16'),
    'added_tokens.json': Buffer.from('{"shiba": 184}'),
    'special_tokens_map.json': Buffer.from('{"mask_token": "[MASK]"}'),
  };

  test.each(['cache', 'folder'])('comes into a %s with all files of its tokenizer', async (kind) => {
    const environment = hubEnvironment(await startHub(slow));
    const target = kind === 'folder' ? { folder: temporaryFolder() } : {};
    const folder = await downloadCheckpoint(reference, environment, { ...options, ...target });
    expectFiles(folder, slow);
    expect(openTokenizer(folder).encode('a shiba')).toEqual([2, 5, 182, 3]);
  });

  test('in a cache that Python filled without them gets them from the Hub', async () => {
    const hub = await startHub(slow);
    const environment = hubEnvironment(hub);
    const folder = await locateCheckpoint(MODEL, environment, options);
    for (const name of ['added_tokens.json', 'special_tokens_map.json']) rmSync(join(folder, name));
    expect(await locateCheckpoint(MODEL, environment, options)).toBe(folder);
    expectFiles(folder, slow);
  });
});

describe('InstructBLIP, whose Q-Former has a tokenizer in a folder', () => {
  const files = fixtureFiles('instructblip-t5');
  const others = { 'README.md': Buffer.from('#'), 'qformer_tokenizer/notes.md': Buffer.from('#') };

  test.each(['cache', 'folder'])('comes into a %s with it, and with nothing else from there', async (kind) => {
    const hub = await startHub({ ...files, ...others, 'onnx/model.onnx': Buffer.from('x') });
    const target = kind === 'cache' ? {} : { folder: join(temporaryFolder(), 'new') };
    const folder = await downloadCheckpoint(reference, hubEnvironment(hub), { ...options, ...target });
    expectFiles(folder, files);
    expect(Object.keys(contents(folder)).sort()).toEqual(Object.keys(files).sort());
    expect(openTokenizer(join(folder, 'qformer_tokenizer')).encode('').length).toBe(2);
    expect(hub.requests.filter(({ path }) => path.includes('onnx'))).toEqual([]);
  });

  test('a cache without it is filled, and without a network it is named', async () => {
    const hub = await startHub(files);
    const environment = hubEnvironment(hub);
    const folder = await downloadCheckpoint(reference, environment, options);
    rmSync(join(folder, 'qformer_tokenizer'), { recursive: true });
    const offline = locateCheckpoint(MODEL, { ...environment, HF_HUB_OFFLINE: '1' });
    await expect(offline).rejects.toThrow('got no qformer_tokenizer/tokenizer.json (or vocab.txt).');
    await locateCheckpoint(MODEL, environment, options);
    expectFiles(folder, files);
  });
});

describe('a repository that is not a checkpoint', () => {
  const config = { 'config.json': Buffer.from('{}'), 'vocab.txt': Buffer.from('[UNK]') };

  test.each([
    [
      'CHECKPOINT_TOKENIZER_INVALID',
      { 'config.json': config['config.json'], 'model.safetensors': Buffer.from('x'), 'vocab.json': Buffer.from('{}') },
      'vocab.json with merges.txt, or spiece.model, or tokenizer.model on the Hub, got none of them',
    ],
    ['CHECKPOINT_CONFIG_INVALID', { 'model.safetensors': Buffer.from('x') }, 'config.json'],
    ['CHECKPOINT_WEIGHTS_INVALID', config, 'expected one of model.safetensors'],
    [
      'CHECKPOINT_WEIGHTS_INVALID',
      { ...config, 'model.safetensors.index.json': Buffer.from('{"weight_map": {"a": "gone.safetensors"}}') },
      'gone.safetensors',
    ],
    [
      'CHECKPOINT_WEIGHTS_INVALID',
      { ...config, 'model.safetensors.index.json': Buffer.from('{"weight_map": {"a": "../../outside"}}') },
      '../../outside',
    ],
    ['CHECKPOINT_WEIGHTS_INVALID', { ...config, 'pytorch_model.bin.index.json': Buffer.from('{}') }, 'weight_map'],
  ])('is %s', async (code, files: Files, words) => {
    const downloaded = downloadCheckpoint(reference, hubEnvironment(await startHub(files)), options);
    await expect(downloaded).rejects.toMatchObject({ code, message: expect.stringContaining(words) });
  });

  test('a file that is larger than it may be is not fetched', async () => {
    const hub = await startHub();
    hub.fail('/tree/', (response) => {
      const entry = (path: string, size: number) => ({ type: 'file', path, size, oid: '0'.repeat(40) });
      response.end(JSON.stringify([...Object.keys(fixtureFiles('narrow-vision')).map((name) => entry(name, 3e9))]));
    });
    const downloaded = downloadCheckpoint(reference, hubEnvironment(hub), options);
    await expect(downloaded).rejects.toMatchObject({
      code: 'CHECKPOINT_FILE_UNREADABLE',
      message: expect.stringContaining('config.json: expected at most 2097152 bytes, got 3000000000'),
    });
    expect(hub.requests.filter(({ path }) => path.includes('/resolve/'))).toEqual([]);
  });

  test('a listing with a checksum that is a path', async () => {
    const hub = await startHub();
    hub.fail('/tree/', (response) =>
      response.end(JSON.stringify([{ type: 'file', path: 'config.json', size: 1, oid: '../../../outside' }])),
    );
    const downloaded = downloadCheckpoint(reference, hubEnvironment(hub), options);
    await expect(downloaded).rejects.toMatchObject({ code: 'CHECKPOINT_DOWNLOAD_FAILED' });
  });

  test('an answer that is no JSON', async () => {
    const hub = await startHub();
    hub.fail('/api/', (response) => response.end('<html>Please log in</html>'));
    const downloaded = downloadCheckpoint(reference, hubEnvironment(hub), options);
    await expect(downloaded).rejects.toMatchObject({
      code: 'CHECKPOINT_DOWNLOAD_FAILED',
      message: expect.stringContaining('JSON'),
    });
  });
});
