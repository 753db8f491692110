import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Caption, isSuccess } from '../../pipeline/caption-items.ts';
import { type Captioner, startCaptioner } from '../../pipeline/captioner.ts';
import { readSettings } from '../../pipeline/settings.ts';
import { expectClose } from '../support/close-to.ts';
import {
  checkpointFolder,
  checkpointNames,
  type ImageName,
  imagePath,
  readGoldenGenerations,
} from '../support/goldens.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** End to end, from image files and text to token ids: the goldens start from the same files. */

const source = (image: ImageName) => `data:;base64,${readFileSync(imagePath(image)).toString('base64')}`;

describe.each(checkpointNames)('captioning with %s', (name) => {
  /** Greedy rows that transformers computed with its defaults. */
  const goldens = readGoldenGenerations(name).filter(({ parameters }) => Object.keys(parameters).length === 0);
  const items = goldens.map(({ image, prompt }) => ({ source: source(image), prompt: prompt ?? '' }));
  let captioner: Captioner;
  beforeAll(async () => {
    const environment = { BLIP_CHECKPOINT: checkpointFolder(name), BLIP_EXECUTION_PROVIDER: 'cpu' };
    captioner = await startCaptioner(readSettings({ environment, cpuCount: 2, shippedCheckpoint: '' }));
  });
  afterAll(() => captioner.close());

  function expectGolden(captions: readonly Caption[], wanted = goldens): void {
    expect(captions.map(({ sequences }) => sequences[0]?.tokenIds)).toEqual(
      wanted.map(({ sequences }) => sequences[0]?.token_ids),
    );
    for (const [index, { sequences }] of wanted.entries()) {
      const [got, golden] = [captions[index]?.sequences[0], sequences[0]];
      const generated = got?.tokenLogprobs.slice(-(golden?.token_logprobs.length ?? 0)) ?? [];
      expectClose(generated, golden?.token_logprobs ?? [], { absolute: 5e-3 }); // One grey level of the resize moves them.
    }
  }

  test('five images and prompts in one request', async () => {
    const { outcomes } = await captioner.caption(items, {});
    expectGolden(outcomes.filter(isSuccess));
  });

  test('the same as requests of their own, all at once', async () => {
    const answers = await Promise.all(items.map((item) => captioner.caption([item], {})));
    expectGolden(answers.flatMap(({ outcomes }) => outcomes).filter(isSuccess));
  });

  test('a caption does not depend on what else is in its batch, sampled ones included', async () => {
    const sampling = { do_sample: true, seed: 7, num_return_sequences: 2, top_k: 20 } as const;
    const { outcomes } = await captioner.caption(items, sampling);
    const alone = await captioner.caption(items.slice(2, 3), sampling);
    const texts = (outcome: (typeof outcomes)[number] | undefined) =>
      outcome !== undefined && isSuccess<Caption>(outcome) ? outcome.texts : [];
    expect(texts(outcomes[2])).toHaveLength(2);
    expect(texts(outcomes[2])).toEqual(texts(alone.outcomes[0]));
  });
});

test('a checkpoint that does not resize refuses other sizes one by one', async () => {
  const folder = temporaryFolder();
  cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
  writeFileSync(`${folder}/preprocessor_config.json`, JSON.stringify({ do_resize: false }));
  const environment = { BLIP_CHECKPOINT: folder, BLIP_EXECUTION_PROVIDER: 'cpu' };
  const captioner = await startCaptioner(readSettings({ environment, cpuCount: 2, shippedCheckpoint: '' }));
  const fitting = await sharp(readFileSync(imagePath('small')))
    .resize(32, 32, { fit: 'fill' })
    .png()
    .toBuffer();
  const { outcomes } = await captioner.caption(
    [
      { source: source('rocket'), prompt: '' },
      { source: fitting.toString('base64'), prompt: '' },
    ],
    {},
  );
  await captioner.close();
  expect(outcomes[0]).toMatchObject({
    error: { code: 'IMAGE_UNSUPPORTED', message: expect.stringMatching(/32 x 32.* got 640 x 427/) },
  });
  expect(outcomes[1]).toMatchObject({ texts: [expect.any(String)] });
});
