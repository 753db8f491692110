import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { copyDist, type Exit, runProgram } from '../../support/bundle.ts';
import { imagePath } from '../../support/goldens.ts';
import { bytes, dataUri, type InferenceAnswer, outputOf } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { withImageServer } from '../../support/with-server.ts';

const bundle = builtBundle();
const images = withImageServer();

const invoke = (...args: readonly string[]) => runProgram(bundle, 'invoke.js', { args });

/** The answer of a successful run: stdout has one line of JSON, and nothing else. */
function readAnswer({ exitCode, stdout, stderr }: Exit): InferenceAnswer {
  expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: expect.stringMatching(/^\{[^\n]*\}\n$/) });
  return JSON.parse(stdout);
}

/** Code and message of a failed run. */
function readError({ exitCode, stdout }: Exit): string {
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: expect.stringMatching(/^\{[^\n]*\}\n$/) });
  const body = JSON.parse(stdout);
  expect(body).toEqual({ error: expect.stringMatching(/\S/), code: expect.any(String) });
  return `${body.code}: ${body.error}`;
}

const captionsOf = (exit: Exit) => outputOf(readAnswer(exit), 'generated_output').data;

describe('invoke', () => {
  test('captions the shipped picture; text for people is on stderr', async () => {
    const exit = await invoke();
    expect(readAnswer(exit)).toEqual({
      model_name: 'captioning',
      model_version: '1',
      parameters: { precision: 'float32' },
      outputs: [{ name: 'generated_output', datatype: 'BYTES', shape: [1], data: [expect.any(String)] }],
    });
    const truths = ['two red apples and a cat', 'a cat and two red apples'].map(
      (words) => `${words} on a blue background`,
    );
    expect(truths).toContain(captionsOf(exit)[0]);
    expect(exit.stderr).toMatch(/^Loading .*scenes-captioning/);
    expect(exit.stderr).toMatch(/Ready in \d.* in float32 \(/);
    expect(exit.stderr).not.toMatch(/[{}]/);
  });

  test('takes a file, a file: URL, an http URL and a data: URI', async () => {
    const path = imagePath('chelsea');
    const [alone] = captionsOf(await invoke('--img_url', path));
    const exit = await invoke(
      ...[path, pathToFileURL(path).href, `${images.url}/chelsea.png`, dataUri('small')].flatMap((source) => [
        '--img_url',
        source,
      ]),
    );
    const captions = captionsOf(exit);
    expect(captions).toEqual([alone, alone, alone, expect.stringMatching(/\S/)]);
  });

  test('takes several prompts, and parameters', async () => {
    const exit = await invoke(
      ...['--img_url', imagePath('chelsea'), '--img_url', imagePath('rocket')],
      ...['--text', 'the', '--text', 'a picture of'],
      ...['--parameters', '{"num_beams": 3, "num_return_sequences": 2}'],
    );
    const { shape, data } = outputOf(readAnswer(exit), 'generated_output');
    expect(shape).toEqual([2, 2]);
    expect(data.map((caption) => String(caption).match(/^(the|a picture of)/)?.[0])).toEqual([
      'the',
      'the',
      'a picture of',
      'a picture of',
    ]);
  });

  test('takes a whole request from a file', async () => {
    const request = {
      id: 'from a file',
      inputs: [bytes('img_url', [dataUri('rocket')])],
      parameters: { max_new_tokens: 4 },
      outputs: [{ name: 'token_ids' }],
    };
    const folder = temporaryFolder({ 'request.json': JSON.stringify(request) });
    const answer = readAnswer(await invoke('--request', join(folder, 'request.json')));
    expect(answer).toMatchObject({ id: 'from a file', outputs: [{ name: 'token_ids', shape: [1, 5] }] });
  });

  test('takes another checkpoint', async () => {
    const folder = join(import.meta.dirname, '../../fixtures/checkpoints/sharded-float16');
    const byOption = await invoke('--checkpoint', folder);
    const byVariable = await runProgram(bundle, 'invoke.js', { variables: { BLIP_CHECKPOINT: folder } });
    expect(byOption.stderr).toContain('sharded-float16');
    expect(captionsOf(byOption)).toEqual(captionsOf(byVariable));
    expect(captionsOf(byOption)).not.toEqual(captionsOf(await invoke()));
  });

  test('answers with captions of the good images beside errors for the bad ones', async () => {
    const answer = readAnswer(
      await invoke('--img_url', `${images.url}/missing.png`, '--img_url', imagePath('chelsea')),
    );
    expect(outputOf(answer, 'generated_output').data).toEqual(['', expect.stringMatching(/\S/)]);
    expect(outputOf(answer, 'error').data).toEqual([expect.stringMatching(/^IMAGE_FETCH_FAILED: /), '']);
  });

  test('reads paths relative to the working directory', async () => {
    const folder = temporaryFolder({ 'picture.png': readFileSync(imagePath('chelsea')) });
    const exit = await runProgram(bundle, 'invoke.js', { args: ['--img_url', 'picture.png'], cwd: folder });
    expect(captionsOf(exit)).toEqual(captionsOf(await invoke('--img_url', imagePath('chelsea'))));
  });

  test('explains its options, and names those that are settings', async () => {
    const { exitCode, stdout, stderr } = await invoke('--help');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    for (const option of [
      '--checkpoint',
      '--img_url',
      '--text',
      '--parameters',
      '--request',
      '--precision',
      '--preset',
    ])
      expect(stdout).toContain(option);
  });

  test('takes settings of the model as options, which win over variables', async () => {
    const exit = await runProgram(bundle, 'invoke.js', {
      args: ['--model-name', 'mine', '--max-new-tokens=4', '--no-image-apply-exif', '--threads', '1'],
      variables: { BLIP_MODEL_NAME: 'other' },
    });
    expect(readAnswer(exit).model_name).toBe('mine');
    const args = ['--max-new-tokens', '4', '--parameters', '{"max_new_tokens": 5}'];
    expect(readError(await invoke(...args))).toMatch(/^INVALID_PARAMETER: .*max_new_tokens to be at most 4/);
  });
});

describe('fails with exit code 1 and an error on stdout', () => {
  test.each([
    ['a file that is not there', ['--img_url', '/nowhere/picture.png'], /^INVALID_REQUEST: .*\/nowhere\/picture\.png/],
    ['a folder for a file', ['--img_url', '/'], /^INVALID_REQUEST: .*readable file/],
    ['a file: URL of another host', ['--img_url', 'file://elsewhere/picture.png'], /^INVALID_REQUEST: Expected .*file/],
    [
      'a request file that is not there',
      ['--request', '/nowhere/request.json'],
      /^INVALID_REQUEST: .*\/nowhere\/request\.json/,
    ],
    ['parameters that are not JSON', ['--parameters', '{num_beams: 3}'], /^INVALID_REQUEST: .*--parameters/],
    ['parameters that are no object', ['--parameters', '[3]'], /^INVALID_REQUEST: .*parameters/],
    ['a parameter out of range', ['--parameters', '{"num_beams": 99}'], /^INVALID_INPUT: .*num_beams/],
    ['an unknown option', ['--image', 'x'], /^INVALID_REQUEST: .*--image.*--help/],
    ['an argument that is no option', ['picture.png'], /^INVALID_REQUEST: .*picture\.png.*--help/],
    ['an option without its value', ['--img_url'], /^INVALID_REQUEST: .*--img_url.*--help/],
    [
      'a checkpoint that is not there',
      ['--checkpoint', '/nowhere/at/all'],
      /^CHECKPOINT_NOT_FOUND: \/nowhere\/at\/all/,
    ],
    ['a checkpoint that is none', ['--checkpoint', '/tmp'], /^CHECKPOINT_CONFIG_INVALID: \/tmp/],
    ['no good image', ['--img_url', 'data:,x', '--img_url', 'ftp://127.0.0.1/x.png'], /^IMAGE_\w+: /],
    [
      'more prompts than images',
      ['--img_url', 'data:,x', '--img_url', 'data:,y', ...['--text', 'a'], ...['--text', 'b'], '--text', 'c'],
      /^INVALID_INPUT: .*2 images/,
    ],
  ] as const)('%s', async (_, args, message) => {
    expect(readError(await invoke(...args))).toMatch(message);
  });

  test.each([
    ['that is not JSON', '{"inputs": [', /^INVALID_REQUEST: .*request\.json/],
    ['that is none', '{"inputs": []}', /^INVALID_REQUEST: .*inputs/],
    ['that is a list', '[]', /^INVALID_REQUEST: .*request/],
  ])('a request file %s', async (_, content, message) => {
    const folder = temporaryFolder({ 'request.json': content });
    expect(readError(await invoke('--request', join(folder, 'request.json')))).toMatch(message);
  });

  test('invalid settings', async () => {
    const exit = await runProgram(bundle, 'invoke.js', { variables: { BLIP_WORKERS: 'many' } });
    expect(readError(exit)).toMatch(/^SETTINGS_INVALID: .*BLIP_WORKERS/);
  });
});

describe('the bundle', () => {
  const runtime = ['onnxruntime-node', 'onnxruntime-common'];
  const decoder = ['sharp', '@img/colour', 'detect-libc', 'semver'];
  const binaries = [
    `@img/sharp-${process.platform}-${process.arch}`,
    `@img/sharp-libvips-${process.platform}-${process.arch}`,
  ];

  test('runs beside its native packages alone', { timeout: 120_000 }, async () => {
    const alone = copyDist(bundle, [...runtime, ...decoder, ...binaries]);
    try {
      expect(captionsOf(await runProgram(alone, 'invoke.js', { cwd: '/' }))).toEqual(captionsOf(await invoke()));
    } finally {
      alone.remove();
    }
  });

  test('does not start without one of its native packages', { timeout: 120_000 }, async () => {
    const alone = copyDist(bundle, [...decoder, ...binaries]);
    try {
      const exit = await runProgram(alone, 'invoke.js', { cwd: '/' });
      expect(exit.exitCode).toBe(1);
      expect(readError(exit)).toMatch(/^NATIVE_LIBRARY_UNUSABLE: .*onnxruntime-node/);
    } finally {
      alone.remove();
    }
  });
});
