import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { readGoldenPresets } from '../../support/preset-goldens.ts';
import { dataUri, testSettings } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** processor_config.json, as transformers has written it since version 5, in place of preprocessor_config.json. */

const { processors } = readGoldenPresets();
type Name = keyof typeof processors;
const names = Object.keys(processors) as readonly Name[]; // The keys of a record of two.

/** A copy of a checkpoint with these files of the image processor, and no other. */
function copyWith(name: Name, files: Readonly<Record<string, unknown>>): string {
  const folder = temporaryFolder();
  cpSync(checkpointFolder(name), folder, { recursive: true });
  rmSync(join(folder, 'preprocessor_config.json'));
  for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), JSON.stringify(content));
  return folder;
}

const imageProcessorOf = (folder: string) => openCheckpoint(folder).imageProcessor;
const ownFile = (name: Name) =>
  JSON.parse(readFileSync(join(checkpointFolder(name), 'preprocessor_config.json'), 'utf8'));

describe.each(names)('processor_config.json of %s', (name) => {
  const own = imageProcessorOf(checkpointFolder(name));

  test('as transformers writes it says what preprocessor_config.json says', () => {
    expect(processors[name]).toMatchObject({ image_processor: expect.any(Object) });
    expect(imageProcessorOf(copyWith(name, { 'processor_config.json': processors[name] }))).toEqual(own);
  });

  test('counts, where it differs from the defaults', () => {
    const content = { image_processor: { ...ownFile(name), image_mean: [0.1, 0.2, 0.3], rescale_factor: 0.5 } };
    expect(imageProcessorOf(copyWith(name, { 'processor_config.json': content }))).toEqual({
      ...own,
      rescaleFactor: 0.5,
      normalize: { ...own.normalize, mean: [0.1, 0.2, 0.3] },
    });
  });

  test('does not count beside a preprocessor_config.json', () => {
    const files = {
      'preprocessor_config.json': ownFile(name),
      'processor_config.json': { image_processor: { do_rescale: false, do_normalize: false } },
    };
    expect(imageProcessorOf(copyWith(name, files))).toEqual(own);
  });

  test.each([
    ['without an image_processor, as version 4 wrote it', { processor_class: 'BlipProcessor' }],
    ['with an empty one', { image_processor: {} }],
    ['with one that is null', { image_processor: null }],
  ])('%s leaves the defaults of transformers', (_, content) => {
    const missing = imageProcessorOf(copyWith(name, {}));
    expect(imageProcessorOf(copyWith(name, { 'processor_config.json': content }))).toEqual(missing);
    expect(missing).toMatchObject({ rescaleFactor: 1 / 255, normalize: { mean: [0.48145466, 0.4578275, 0.40821073] } });
  });

  test('is named where something is wrong in it', () => {
    const folder = copyWith(name, { 'processor_config.json': { image_processor: { ...ownFile(name), resample: 2 } } });
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      join(folder, 'processor_config.json'),
      'image_processor',
      'expected resample 3 (bicubic), got 2',
    ]);
  });

  test.each([
    ['a list', [1]],
    ['a string', 'BlipImageProcessor'],
    ['a number', 7],
  ])('is refused where image_processor is %s', (_, content) => {
    const folder = copyWith(name, { 'processor_config.json': { image_processor: content } });
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      'processor_config.json',
      'expected image_processor to be an object',
    ]);
  });

  test('is refused where it is no JSON', () => {
    const folder = copyWith(name, {});
    writeFileSync(join(folder, 'processor_config.json'), '{');
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      'processor_config.json',
      'expected JSON',
    ]);
  });
});

test('a checkpoint with it alone answers as the one that it was made of', async () => {
  const answers = [];
  for (const checkpoint of [
    checkpointFolder('clip-real-end'),
    copyWith('clip-real-end', { 'processor_config.json': processors['clip-real-end'] }),
  ]) {
    const model = new Handler(testSettings({ checkpoint }));
    await model.initialize();
    answers.push(await model.infer({ img_url: [dataUri('chelsea'), dataUri('rocket')], text: 'a cat' }));
    await model.finalize();
  }
  expect(answers[1]).toEqual(answers[0]);
});
