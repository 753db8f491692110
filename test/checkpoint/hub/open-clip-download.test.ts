import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import type { CheckpointError } from '../../../checkpoint/errors.ts';
import { downloadCheckpoint } from '../../../checkpoint/hub/download.ts';
import { locateCheckpoint } from '../../../checkpoint/hub/locate.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { type Files, hubEnvironment, MODEL, quickLimits, startHub } from '../../support/hub-server.ts';
import { openClipFiles } from '../../support/open-clip.ts';

const reference = { name: MODEL, revision: 'main' };
const options = { limits: quickLimits };
const tokenizer = ['tokenizer.json', 'tokenizer_config.json'];

function without(files: Files, ...names: readonly string[]): Files {
  return Object.fromEntries(Object.entries(files).filter(([name]) => !names.includes(name)));
}

async function expectServed(files: Files, fetched: readonly string[]) {
  const environment = hubEnvironment(await startHub(files));
  const folder = await downloadCheckpoint(reference, environment, options);
  expect(readdirSync(folder).sort()).toEqual([...fetched].sort());
  expect(openCheckpoint(folder).task).toBe('clip');
  expect(openWeights(folder).regions.size).toBeGreaterThan(30);
  // Nothing more is asked for, with a network or without.
  expect(await locateCheckpoint(MODEL, { ...environment, HF_HUB_OFFLINE: '1' }, options)).toBe(folder);
  expect(await locateCheckpoint(MODEL, { ...environment, HF_ENDPOINT: 'http://127.0.0.1:9' }, options)).toBe(folder);
}

test('open_clip’s files are fetched, and not the image tower of timm beside them', async () => {
  const files = openClipFiles('quick-gelu');
  expect(Object.keys(files)).toContain('model.safetensors');
  // timm's config.json says whose model.safetensors it is.
  await expectServed(files, ['config.json', 'open_clip_config.json', 'open_clip_model.safetensors', ...tokenizer]);
});

test('without safetensors the .bin', async () => {
  await expectServed(openClipFiles('odd-sizes'), [
    'open_clip_config.json',
    'open_clip_pytorch_model.bin',
    ...tokenizer,
  ]);
});

test('of two forms the safetensors', async () => {
  const files = { ...openClipFiles('quick-gelu'), 'open_clip_pytorch_model.bin': new Uint8Array(9) };
  const fetched = ['open_clip_config.json', 'open_clip_model.safetensors', ...tokenizer];
  await expectServed(without(files, 'config.json', 'model.safetensors'), fetched);
});

test('no weights of open_clip are said so', async () => {
  const files = without(openClipFiles('odd-sizes'), 'open_clip_pytorch_model.bin');
  const environment = hubEnvironment(await startHub(files));
  const download = downloadCheckpoint(reference, environment, options);
  const error: CheckpointError = await download.then(
    () => Promise.reject(new Error('Expected a refusal.')),
    (thrown) => thrown,
  );
  expect(error.code).toBe('CHECKPOINT_WEIGHTS_INVALID');
  expect(error.message).toContain('open_clip_model.safetensors, open_clip_pytorch_model.bin');
});

test('a cache that Python filled with the two files of open_clip is enough', async () => {
  const files = without(openClipFiles('odd-sizes'), ...tokenizer);
  const hub = await startHub(files);
  const environment = hubEnvironment(hub);
  const folder = await downloadCheckpoint(reference, environment, options);
  expect(readdirSync(folder).sort()).toEqual(['open_clip_config.json', 'open_clip_pytorch_model.bin']);
  expect(await locateCheckpoint(MODEL, { ...environment, HF_HUB_OFFLINE: '1' }, options)).toBe(folder);
});

test('a name of open_clip is asked for at its repository', async () => {
  const hub = await startHub(openClipFiles('odd-sizes'));
  const environment = hubEnvironment(hub, { HF_HUB_OFFLINE: '1' });
  const located = locateCheckpoint('ViT-B-32:openai', environment, options);
  await expect(located).rejects.toMatchObject({
    code: 'CHECKPOINT_NOT_CACHED',
    message: expect.stringContaining('openai/clip-vit-base-patch32'),
  });
});
