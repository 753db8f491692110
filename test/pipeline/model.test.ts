import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { readSettings } from '../../pipeline/settings.ts';
import type { NamedTensor } from '../../protocol/named-tensor.ts';
import { expectClose } from '../support/close-to.ts';
import {
  checkpointFolder,
  checkpointNames,
  type GoldenGeneration,
  type ImageName,
  imagePath,
  readGoldenGenerations,
} from '../support/goldens.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** End to end, from image files and text to token ids: the goldens start from the same files. */

const source = (image: ImageName) => `data:;base64,${readFileSync(imagePath(image)).toString('base64')}`;

function start(folder: string, onNotice: (line: string) => void = () => undefined): Promise<RunningModel> {
  const environment = { BLIP_CHECKPOINT: folder, BLIP_EXECUTION_PROVIDER: 'cpu' };
  return startModel(readSettings({ environment, shippedCheckpoint: '' }), { onNotice });
}

interface Caption {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly tokenLogprobs: readonly number[];
}

/** The captions of an answer, without their padding. */
function captionsOf(outputs: readonly NamedTensor[], padTokenId: number): readonly Caption[] {
  const [texts, ids, logprobs] = outputs;
  const length = ids?.shape.at(-1) ?? 0;
  return (texts?.data ?? []).map((text, index) => {
    const row = (tensor: NamedTensor | undefined) =>
      (tensor?.data ?? []).slice(index * length, (index + 1) * length).map(Number);
    const tokenIds = row(ids);
    const end = tokenIds.findLastIndex((id) => id !== padTokenId) + 1;
    return { text: String(text), tokenIds: tokenIds.slice(0, end), tokenLogprobs: row(logprobs).slice(0, end) };
  });
}

const outputs = ['generated_output', 'token_ids', 'token_logprobs'];

describe.each(checkpointNames)('captioning with %s', (name) => {
  /** Greedy rows that transformers computed with its defaults. */
  const goldens = readGoldenGenerations(name).filter(({ parameters }) => Object.keys(parameters).length === 0);
  let model: RunningModel;
  beforeAll(async () => {
    model = await start(checkpointFolder(name));
  });
  afterAll(() => model.close());

  async function caption(rows: readonly GoldenGeneration[], parameters = {}): Promise<readonly Caption[]> {
    const inputs = { img_url: rows.map(({ image }) => source(image)), text: rows.map(({ prompt }) => prompt ?? '') };
    const answer = await model.infer({ inputs: { ...inputs, ...parameters }, outputs });
    return captionsOf(answer.outputs, 0);
  }

  function expectGolden(captions: readonly Caption[]): void {
    expect(captions.map(({ tokenIds }) => tokenIds)).toEqual(goldens.map(({ sequences }) => sequences[0]?.token_ids));
    for (const [index, { sequences }] of goldens.entries()) {
      const golden = sequences[0]?.token_logprobs ?? [];
      const generated = captions[index]?.tokenLogprobs.slice(-golden.length) ?? [];
      expectClose(generated, golden, { absolute: 5e-3 }); // One grey level of the resize moves them.
    }
  }

  test('five images and prompts in one request', async () => {
    expectGolden(await caption(goldens));
  });

  test('the same as requests of their own, all at once', async () => {
    expectGolden((await Promise.all(goldens.map((golden) => caption([golden])))).flat());
  });

  test('a caption does not depend on what else is in its batch, sampled ones included', async () => {
    const sampling = { do_sample: [true], seed: [7], num_return_sequences: [2], top_k: [20] };
    const together = (await caption(goldens, sampling)).map(({ text }) => text);
    const alone = (await caption(goldens.slice(2, 3), sampling)).map(({ text }) => text);
    expect(alone).toHaveLength(2);
    expect(together.slice(4, 6)).toEqual(alone);
  });
});

test('a checkpoint that does not resize refuses other sizes one by one', async () => {
  const folder = temporaryFolder();
  cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
  writeFileSync(`${folder}/preprocessor_config.json`, JSON.stringify({ do_resize: false }));
  const model = await start(folder);
  const fitting = await sharp(readFileSync(imagePath('small')))
    .resize(32, 32, { fit: 'fill' })
    .png()
    .toBuffer();
  const images = [source('rocket'), fitting.toString('base64')];
  const { failures, outputs: tensors } = await model.infer({
    inputs: { img_url: images },
    outputs: ['generated_output'],
  });
  await model.close();
  expect(failures).toMatchObject([
    { code: 'IMAGE_UNSUPPORTED', message: expect.stringMatching(/32 x 32.* got 640 x 427/) },
  ]);
  expect(tensors[0]?.data).toEqual(['', expect.stringMatching(/\S/)]);
});

test('a vocabulary smaller than its model is told, and its missing words are shown', async () => {
  const folder = temporaryFolder();
  cpSync(checkpointFolder('untied-bfloat16'), folder, { recursive: true });
  const words = readFileSync(`${folder}/vocab.txt`, 'utf8').split('\n');
  writeFileSync(`${folder}/vocab.txt`, words.slice(0, 5).join('\n'));
  const notices: string[] = [];
  const model = await start(folder, (line) => notices.push(line));
  const { outputs: tensors } = await model.infer({ inputs: { img_url: [source('rocket')] } });
  await model.close();
  expect(notices).toContainEqual(expect.stringMatching(/vocab\.txt: 177 of the model's 184 tokens are missing/));
  expect(tensors[0]?.data[0]).toContain('\ufffd');
});

test('a checkpoint whose tokenizer is refused starts nothing', async () => {
  const folder = temporaryFolder();
  cpSync(checkpointFolder('untied-bfloat16'), folder, { recursive: true });
  writeFileSync(`${folder}/vocab.txt`, '<!doctype html><html></html>');
  await expect(start(folder)).rejects.toMatchObject({
    code: 'CHECKPOINT_TOKENIZER_INVALID',
    message: expect.stringContaining('vocab.txt: expected text, got an HTML page'),
  });
});
