import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { runProgram } from '../../support/bundle.ts';
import { checkpointFolder, imagePath } from '../../support/goldens.ts';
import { MODEL, startHub } from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** `quantize` of the bundle, and `invoke` with the folder that it wrote. */

const source = checkpointFolder('narrow-vision');
const bundle = builtBundle();

const quantize = (args: readonly string[], variables: Readonly<Record<string, string>> = {}) =>
  runProgram(bundle, 'main.js', { args: ['quantize', ...args], variables });

describe('quantize', () => {
  test('writes a folder that invoke captions with', async () => {
    const folder = join(temporaryFolder(), 'int8');
    const quantized = await quantize([source, folder]);
    expect(quantized).toMatchObject({ exitCode: 0, stdout: `${folder}\n` });
    expect(quantized.stderr).toMatch(
      /model\.safetensors: 100 % of .*\n\d+ matrices are int8: .* of weights, from .*\.\n$/,
    );
    const invoked = await runProgram(bundle, 'invoke.js', {
      args: ['--checkpoint', folder, '--img_url', imagePath('small'), '--text', 'a picture of'],
    });
    expect(invoked).toMatchObject({ exitCode: 0 });
    const { outputs } = JSON.parse(invoked.stdout) as { outputs: readonly { data: readonly string[] }[] };
    expect(outputs[0]?.data[0]).toMatch(/\w/);
    expect(invoked.stderr).toContain('on cpu in int8 (int8 weights run on the CPU)');
  });

  test('calibrates with a folder of pictures', async () => {
    const folder = join(temporaryFolder(), 'int8');
    const pictures = temporaryFolder({ 'small.png': readFileSync(imagePath('small')) });
    const quantized = await quantize([source, folder, '--calibrate', pictures]);
    expect(quantized).toMatchObject({ exitCode: 0, stdout: `${folder}\n` });
    expect(quantized.stderr).toContain(`${pictures}: 100 % calibrated\n`);
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object;
    expect(config).toMatchObject({ quantization_config: { version: 3, calibration_pictures: 1 } });
    const args = ['--checkpoint', folder, '--img_url', imagePath('small'), '--text', 'a picture of'];
    expect(await runProgram(bundle, 'invoke.js', { args })).toMatchObject({ exitCode: 0 });
  });

  test('copies in 16 bits', async () => {
    const folder = join(temporaryFolder(), 'copy');
    const copied = await quantize([source, folder, '--precision', 'bfloat16']);
    expect(copied).toMatchObject({ exitCode: 0, stdout: `${folder}\n` });
    expect(copied.stderr).toMatch(/\nA copy in bfloat16: .* of weights, from .*\.\n$/);
    expect(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))).not.toHaveProperty('quantization_config');
  });

  test('has 4 bits for the language model of a BLIP-2 alone', async () => {
    const folder = join(temporaryFolder(), 'int8');
    const { exitCode, stderr } = await quantize([source, folder, '--bits', '4']);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr:
        `CHECKPOINT_CONFIG_INVALID: ${source}: expected a BLIP-2 or InstructBLIP with a language model for 4 bits, ` +
        'got none. Leave out the 4 bits.\n',
    });
    expect(existsSync(folder)).toBe(false);
  });

  test('refuses a folder without pictures before it writes anything', async () => {
    const [folder, pictures] = [join(temporaryFolder(), 'int8'), temporaryFolder()];
    const { exitCode, stderr } = await quantize([source, folder, '--calibrate', pictures]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: `INVALID_REQUEST: ${pictures}: expected pictures to calibrate with, got none.\n`,
    });
    expect(existsSync(folder)).toBe(false);
  });

  test('takes a model of the Hub', async () => {
    const hub = await startHub();
    const folder = join(temporaryFolder(), 'int8');
    const variables = { HF_ENDPOINT: hub.url, HF_HOME: temporaryFolder() };
    const quantized = await quantize([MODEL, folder], variables);
    expect(quantized).toMatchObject({ exitCode: 0, stdout: `${folder}\n` });
    expect(readdirSync(folder)).toContain('model.safetensors');
  });

  test.each([
    [[], 'INVALID_REQUEST: Expected a checkpoint and a folder, got 0 arguments. Try --help.'],
    [[source], 'INVALID_REQUEST: Expected a checkpoint and a folder, got 1 arguments. Try --help.'],
    [[source, 'a', 'b'], 'INVALID_REQUEST: Expected a checkpoint and a folder, got 3 arguments. Try --help.'],
    [['/nowhere/at/all', 'a'], 'CHECKPOINT_NOT_FOUND: '],
    [[source, 'a', '--bits', '5'], 'INVALID_REQUEST: Expected --bits to be 8 or 4, got "5". Try --help.'],
    [
      [source, 'a', '--precision', 'float32'],
      'INVALID_REQUEST: Expected --precision to be float16 or bfloat16, got "float32". Try --help.',
    ],
    [
      [source, 'a', '--precision', 'float16', '--bits', '4'],
      'INVALID_REQUEST: Expected --precision alone: a copy in float16 is not int8, got --bits too. Try --help.',
    ],
  ])('%j is refused', async (args, message) => {
    const { exitCode, stdout, stderr } = await quantize(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toContain(message);
  });

  test('does not overwrite an existing folder', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'mine'));
    const { exitCode, stderr } = await quantize([source, folder]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: `INVALID_REQUEST: Expected a FOLDER that does not exist yet, got "${folder}".\n`,
    });
    expect(readdirSync(folder)).toEqual(['mine']);
  });

  test('refuses a dangling link and an empty name as a folder', async () => {
    const link = join(temporaryFolder(), 'link');
    symlinkSync('/nowhere/at/all', link);
    for (const target of [link, ''])
      expect((await quantize([source, target])).stderr).toContain('INVALID_REQUEST: Expected a FOLDER');
  });

  test('reports a folder that it cannot write', async () => {
    const target = join(temporaryFolder({ file: 'mine' }), 'file', 'int8');
    const { exitCode, stderr } = await quantize([source, target]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: `INVALID_REQUEST: ${target}: expected a place that can be written (ENOTDIR).\n`,
    });
  });

  test('explains its arguments', async () => {
    expect(await quantize(['--help'])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('Usage: blip-handler quantize CHECKPOINT FOLDER [options]'),
    });
  });
});
