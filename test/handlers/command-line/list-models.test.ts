import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { knownModels } from '../../../checkpoint/hub/known-models.ts';
import { builtBundle } from '../../support/built-bundle.ts';
import { runProgram } from '../../support/bundle.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** `list_models` of the bundle, over caches of small files: it looks at names of files only. */

const COMMIT = 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00';

const bundle = builtBundle();

interface Line {
  readonly reference: string;
  readonly task: string;
  readonly size: string;
  readonly int8: string;
  readonly fourBits: string;
  readonly licence: string;
  readonly note: string;
}

/** The lines below the heading. */
async function list(variables: Readonly<Record<string, string>>): Promise<readonly Line[]> {
  const { exitCode, stdout, stderr } = await runProgram(bundle, 'main.js', { args: ['list_models'], variables });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  const [heading = '', ...lines] = stdout.replace(/\n$/, '').split('\n');
  expect(heading).toMatch(/^MODEL +TASK +FLOAT32 +INT8 +4 BITS +LICENCE$/);
  return lines.map((line) => {
    expect(line).toBe(line.trimEnd());
    const cells = line.split(/ {2,}/);
    const [reference = '', task = '', size = '', int8 = '', fourBits = '', licence = '', note = '', ...rest] = cells;
    expect(rest).toEqual([]);
    return { reference, task, size, int8, fourBits, licence, note };
  });
}

const complete = ['config.json', 'preprocessor_config.json', 'tokenizer.json', 'model.safetensors'];

/** The files of one model in the cache of Python and of this package, by their paths in HF_HOME. */
function cached(reference: string, files: readonly string[] = complete): Readonly<Record<string, string>> {
  const [name = '', revision = 'main'] = reference.split('@');
  const repository = `hub/models--${name.replace('/', '--')}`;
  return Object.fromEntries([
    [`${repository}/refs/${revision}`, COMMIT],
    ...files.map((file) => [`${repository}/snapshots/${COMMIT}/${file}`, '{ "image_processor": {} }']),
  ]);
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;

const presentIn = (lines: readonly Line[]) =>
  lines.filter(({ note }) => note !== '').map(({ reference, note }) => `${reference} ${note}`);

describe('list_models', () => {
  test('prints every known model with its task and size, and none as downloaded', async () => {
    const lines = await list({ HF_HOME: temporaryFolder() });
    expect(lines).toEqual(
      knownModels.map(({ reference, task, parameterCount, quantizedBytes, licence }) => ({
        reference,
        task,
        size: gigabytes(parameterCount * 4),
        int8: quantizedBytes === undefined ? '-' : gigabytes(quantizedBytes[8]),
        fourBits: quantizedBytes?.[4] === undefined ? '-' : gigabytes(quantizedBytes[4]),
        licence,
        note: '',
      })),
    );
    expect(new Set(lines.map(({ task }) => task))).toEqual(
      new Set(['captioning', 'question-answering', 'retrieval', 'clip', 'image-text-to-text']),
    );
  });

  test('is also list-models, and prints JSON with sizes in bytes', async () => {
    const variables = { HF_HOME: temporaryFolder(cached('Salesforce/blip-vqa-base')) };
    const { stdout } = await runProgram(bundle, 'main.js', { args: ['list-models', '--json'], variables });
    expect(JSON.parse(stdout)).toEqual(
      knownModels.map(({ reference, task, parameterCount, quantizedBytes, licence }) => ({
        model: reference,
        task,
        parameters: parameterCount,
        bytes: {
          float32: parameterCount * 4,
          ...(quantizedBytes === undefined ? {} : { int8: quantizedBytes[8] }),
          ...(quantizedBytes?.[4] === undefined ? {} : { int4: quantizedBytes[4] }),
        },
        licence,
        present: reference === 'Salesforce/blip-vqa-base',
      })),
    );
  });

  test('aligns its columns', async () => {
    const { stdout } = await runProgram(bundle, 'main.js', {
      args: ['list_models'],
      variables: { HF_HOME: temporaryFolder() },
    });
    const lines = stdout.trimEnd().split('\n');
    const starts = lines.map((line) =>
      [...line.matchAll(/ {2,}(?=\S)/g)].map(({ index, 0: space }) => index + space.length),
    );
    for (const start of starts) expect(start).toEqual(starts[0]);
    expect(starts[0]).toHaveLength(5);
  });

  test('marks a model that is whole at the known revision', async () => {
    const home = temporaryFolder({
      ...cached('Salesforce/blip-vqa-base'),
      ...cached('Salesforce/blip-image-captioning-large@refs/pr/18'),
      ...cached('openai/clip-vit-base-patch16'),
      ...cached('Somebody/elses-model'),
    });
    expect(presentIn(await list({ HF_HOME: home }))).toEqual([
      'Salesforce/blip-image-captioning-large@refs/pr/18 present',
      'Salesforce/blip-vqa-base present',
      'openai/clip-vit-base-patch16 present',
    ]);
  });

  test('does not mark a model at another revision', async () => {
    const home = temporaryFolder(cached('Salesforce/blip-image-captioning-large'));
    expect(presentIn(await list({ HF_HOME: home }))).toEqual([]);
  });

  test.each(complete)('does not mark a model without %s', async (missing) => {
    const files = complete.filter((file) => file !== missing);
    const home = temporaryFolder(cached('Salesforce/blip-itm-base-coco', files));
    expect(presentIn(await list({ HF_HOME: home }))).toEqual([]);
  });

  test.each([
    ['a vocabulary of words', ['config.json', 'preprocessor_config.json', 'vocab.txt', 'model.safetensors']],
    ['merges', ['config.json', 'preprocessor_config.json', 'vocab.json', 'merges.txt', 'model.safetensors']],
    ['weights of PyTorch', ['config.json', 'preprocessor_config.json', 'tokenizer.json', 'pytorch_model.bin']],
    ['a processor of transformers 5', ['config.json', 'processor_config.json', 'tokenizer.json', 'model.safetensors']],
  ])('marks a model with %s', async (_, files) => {
    const home = temporaryFolder(cached('Salesforce/blip-itm-base-coco', files));
    expect(presentIn(await list({ HF_HOME: home }))).toEqual(['Salesforce/blip-itm-base-coco present']);
  });

  test('does not mark a model whose weights are downloaded in part', async () => {
    const shards = JSON.stringify({ weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' } });
    const files = ['config.json', 'preprocessor_config.json', 'tokenizer.json', 'model-1.safetensors'];
    const home = temporaryFolder({
      ...cached('Salesforce/blip-vqa-base', files),
      [`hub/models--Salesforce--blip-vqa-base/snapshots/${COMMIT}/model.safetensors.index.json`]: shards,
    });
    expect(presentIn(await list({ HF_HOME: home }))).toEqual([]);
  });

  test('reports an invalid setting, with its code', async () => {
    const exit = await runProgram(bundle, 'main.js', { args: ['list_models'], variables: { HF_ENDPOINT: 'foo' } });
    expect(exit).toMatchObject({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringMatching(/^CHECKPOINT_DOWNLOAD_FAILED: HF_ENDPOINT: expected .*\n$/),
    });
  });

  test('reads the cache that HF_HUB_CACHE names, and works without any network', async () => {
    const home = temporaryFolder(cached('openai/clip-vit-large-patch14'));
    const variables = {
      HF_HOME: temporaryFolder(),
      HF_HUB_CACHE: join(home, 'hub'),
      HF_ENDPOINT: 'http://127.0.0.1:9',
    };
    expect(presentIn(await list(variables))).toEqual(['openai/clip-vit-large-patch14 present']);
    rmSync(join(home, 'hub'), { recursive: true });
    expect(presentIn(await list(variables))).toEqual([]);
  });
});
