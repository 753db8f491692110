import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { runProgram } from '../../support/bundle.ts';
import { checkpointFolder, fixtures, imagePath } from '../../support/goldens.ts';
import { MODEL, startHub } from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** `merge` of the bundle, and `invoke` with the folder that it wrote. */

const base = checkpointFolder('narrow-vision');
const adapter = `${fixtures}adapters/plain`;
const bundle = builtBundle();

const merge = (args: readonly string[], variables: Readonly<Record<string, string>> = {}) =>
  runProgram(bundle, 'main.js', { args: ['merge', ...args], variables });

async function caption(folder: string): Promise<string> {
  const args = ['--checkpoint', folder, '--img_url', imagePath('small'), '--text', 'a picture of'];
  const { stdout } = await runProgram(bundle, 'invoke.js', { args });
  const { outputs } = JSON.parse(stdout) as { readonly outputs: readonly { readonly data: readonly string[] }[] };
  return outputs[0]?.data[0] ?? '';
}

describe('merge', () => {
  test('writes a folder that invoke captions with, and otherwise than the base', async () => {
    const folder = join(temporaryFolder(), 'merged');
    const merged = await merge([adapter, base, folder]);
    expect(merged).toMatchObject({ exitCode: 0, stdout: `${folder}\n` });
    expect(merged.stderr).toMatch(
      /model\.safetensors: 100 % of .*\n12 modules of .*narrow-vision are merged, and 0 tensors replaced: .*\.\n$/,
    );
    const text = await caption(folder);
    expect(text).toMatch(/\w/);
    expect(text).not.toBe(await caption(base));
  });

  test('takes the base from the Hub', async () => {
    const hub = await startHub();
    const folder = join(temporaryFolder(), 'merged');
    const variables = { HF_ENDPOINT: hub.url, HF_HOME: temporaryFolder() };
    const merged = await merge([adapter, MODEL, folder], variables);
    expect(merged).toMatchObject({ exitCode: 0, stdout: `${folder}\n` });
    expect(readdirSync(folder)).toContain('model.safetensors');
  });

  test('takes the base that the adapter names, where none is given', async () => {
    const variables = { HF_HUB_OFFLINE: '1', HF_HOME: temporaryFolder() };
    const { exitCode, stderr } = await merge([adapter, join(temporaryFolder(), 'merged')], variables);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('CHECKPOINT_NOT_CACHED: tests/narrow-vision');
  });

  test('says whose the base is that another machine had', async () => {
    const folder = temporaryFolder();
    cpSync(adapter, folder, { recursive: true });
    const config: object = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));
    const moved = { ...config, base_model_name_or_path: '/home/someone/models/blip' };
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(moved));
    const { stderr } = await merge([folder, join(temporaryFolder(), 'merged')]);
    expect(stderr).toContain('CHECKPOINT_NOT_FOUND: /home/someone/models/blip: expected');
    expect(stderr).toContain(`${folder} names this base: give its BASE where it lies elsewhere.`);
  });

  test.each([
    [[], 'INVALID_REQUEST: Expected an adapter, its base and a folder, got 0 arguments. Try --help.'],
    [[adapter], 'INVALID_REQUEST: Expected an adapter, its base and a folder, got 1 arguments. Try --help.'],
    [['a', 'b', 'c', 'd'], 'INVALID_REQUEST: Expected an adapter, its base and a folder, got 4 arguments.'],
    [[adapter, '/nowhere/at/all', 'a'], 'CHECKPOINT_NOT_FOUND: '],
    [[base, base, 'a'], 'got a whole checkpoint; the adapter is named before its base.'],
    [['owner/adapter', base, 'a'], 'got no such folder; one of the Hub is downloaded with `hf download'],
  ])('%j is refused', async (args, message) => {
    const { exitCode, stdout, stderr } = await merge(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toContain(message);
  });

  test('does not overwrite an existing folder', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'mine'));
    expect(await merge([adapter, base, folder])).toMatchObject({
      exitCode: 1,
      stderr: `INVALID_REQUEST: Expected a FOLDER that does not exist yet, got "${folder}".\n`,
    });
    expect(readdirSync(folder)).toEqual(['mine']);
  });

  test('explains its arguments', async () => {
    expect(await merge(['--help'])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('Usage: blip-handler merge ADAPTER [BASE] FOLDER'),
    });
  });
});

test('an adapter in place of a checkpoint is named, with the command that merges it', async () => {
  const { exitCode, stdout } = await runProgram(bundle, 'invoke.js', { args: ['--checkpoint', adapter] });
  expect(exitCode).toBe(1);
  expect(JSON.parse(stdout)).toEqual({
    code: 'CHECKPOINT_CONFIG_INVALID',
    error:
      `${adapter}: expected a config.json, got a LoRA adapter of tests/narrow-vision; ` +
      `"blip-handler merge ${adapter} tests/narrow-vision NEW_FOLDER" makes a checkpoint of both.`,
  });
});
