import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { expectCheckpointError } from '../support/thrown.ts';

describe('the folder', () => {
  test('a folder that is not there is refused by its path', () => {
    const folder = join(temporaryFolder(), 'nowhere');
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_NOT_FOUND', [folder, 'got no such folder']);
  });

  test('a file in place of the folder is refused by its path', () => {
    const file = join(temporaryFolder({ 'model.safetensors': '' }), 'model.safetensors');
    expectCheckpointError(() => openCheckpoint(file), 'CHECKPOINT_NOT_FOUND', [file]);
  });

  test('a folder without config.json is refused', () => {
    const folder = temporaryFolder();
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [folder, 'a config.json', 'none']);
  });

  test.each([
    ['a training script', ['checkpoint-500', 'checkpoint-1000', 'runs'], 'checkpoint-1000'],
    ['a training of PEFT', ['checkpoint-9/adapter'], 'checkpoint-9'],
    ['the cache of the Hub', ['snapshots/abc', 'blobs'], 'snapshots/abc'],
  ])('the folder of %s is refused, and the checkpoint in it named', (_, folders, inner) => {
    const configOf = (name: string) => (name.endsWith('adapter') ? `${name}_config.json` : `${name}/config.json`);
    const files = folders.filter((name) => /\d|abc/.test(name)).map((name) => [configOf(name), '{}']);
    const folder = temporaryFolder(Object.fromEntries(files));
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      `got a checkpoint in a folder of it: name ${join(folder, inner)}.`,
    ]);
  });

  test.each([
    [
      { peft_type: 'LORA', base_model_name_or_path: 'owner/name', revision: 'v1' },
      'got a LoRA adapter of owner/name@v1; "blip-handler merge ',
    ],
    [{ peft_type: 'LORA' }, ' BASE NEW_FOLDER" makes a checkpoint of both.'],
    [{ peft_type: 'IA3', base_model_name_or_path: 'owner/name' }, 'got a PEFT adapter of owner/name of the type IA3;'],
    [{}, 'got a PEFT adapter of the type unknown; merge it in Python (merge_and_unload).'],
  ])('an adapter in place of a checkpoint is named: %j', (config, problem) => {
    const folder = temporaryFolder({ 'adapter_config.json': JSON.stringify(config) });
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      folder,
      'a config.json',
      problem,
    ]);
  });

  test.each([
    ['cut off', '{"architectures":', 'expected JSON'],
    ['empty', '', 'expected JSON'],
    ['a list', '["BlipForConditionalGeneration"]', 'got a list of 1'],
    ['null', 'null', 'got null'],
  ])('a config.json that is %s is refused by its path', (_, text, part) => {
    const folder = temporaryFolder({ 'config.json': text });
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      join(folder, 'config.json'),
      part,
    ]);
  });

  test('a config.json that cannot be read is refused by its path', () => {
    const folder = temporaryFolder({ 'config.json/readme.txt': '' });
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_FILE_UNREADABLE', [
      join(folder, 'config.json'),
      'got a folder',
    ]);
  });
});

describe('a checkpoint', () => {
  test.each([
    ['narrow-vision', 'BlipForConditionalGeneration', 'captioning'],
    ['answers-float32', 'BlipForQuestionAnswering', 'question-answering'],
    ['retrieval-wide-vision', 'BlipForImageTextRetrieval', 'retrieval'],
    ['clip-real-end', 'CLIPModel', 'clip'],
  ] as const)(
    '%s: its architecture, its task, its images, and defaults of generation for BLIP',
    (name, architecture, task) => {
      const checkpoint = openCheckpoint(checkpointFolder(name));
      expect(checkpoint).toMatchObject({ folder: checkpointFolder(name), architecture, task, quantizedTo: undefined });
      expect(checkpoint.imageProcessor.resize?.kind).toBe(task === 'clip' ? 'crop' : 'squash');
      expect('generationDefaults' in checkpoint).toBe(task !== 'clip');
      // The type follows the task, as the compiler sees in these lines.
      if (checkpoint.task === 'clip') expect(checkpoint.config.projectionSize).toBeGreaterThan(0);
      else if ('text' in checkpoint.config) expect(checkpoint.config.text.sepTokenId).toBeGreaterThan(0);
    },
  );

  test('with parameters of generation where nothing reads them says so', () => {
    const folder = join(temporaryFolder(), 'checkpoint');
    cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
    const path = join(folder, 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...config, num_beams: 4, max_length: 20, top_p: 1.0, do_sample: null }));
    expect(openCheckpoint(folder).config.warnings).toEqual([
      `${path}: parameters of generation belong in generation_config.json, so without effect: num_beams 4.`,
    ]);
  });

  test('with an adapter beside it says that the adapter is not applied', () => {
    const folder = join(temporaryFolder(), 'checkpoint');
    cpSync(checkpointFolder('clip-real-end'), folder, { recursive: true });
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ peft_type: 'LORA' }));
    expect(openCheckpoint(folder).notices).toEqual([
      expect.stringContaining('served without the adapter beside it: a LoRA adapter; "blip-handler merge'),
    ]);
  });

  test.each(['narrow-vision', 'clip-real-end'] as const)('%s for images of another size', (name) => {
    const folder = checkpointFolder(name);
    const usual = openCheckpoint(folder);
    const { patchSize, imageSize } = usual.config.vision;
    const other = openCheckpoint(folder, imageSize + patchSize);
    const side = imageSize + patchSize;
    expect(other.config.vision).toEqual({ ...usual.config.vision, imageSize: side });
    expect(other.config.vision.positionsImageSize).toBe(imageSize);
    expect(other.imageProcessor).toEqual({
      ...usual.imageProcessor,
      resize: name === 'clip-real-end' ? { kind: 'crop', side, shortestEdge: side } : { kind: 'squash', side },
    });
    expectCheckpointError(() => openCheckpoint(folder, imageSize + 1), 'CHECKPOINT_CONFIG_INVALID', [
      folder,
      `BLIP_IMAGE_SIZE to be a multiple of patch_size ${patchSize}, got ${imageSize + 1}`,
    ]);
  });
});
