import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../../pipeline/model.ts';
import { readSettings } from '../../../pipeline/settings.ts';
import { expectClose } from '../../support/close-to.ts';
import { fixtures, imagePath } from '../../support/goldens.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** Requests larger than BLIP_MAX_BATCH_SIZE are computed in several runs, and answered as if in one. */

function start(checkpoint: string, maxBatchSize: number): Promise<RunningModel> {
  const environment = { BLIP_CHECKPOINT: `${fixtures}checkpoints/${checkpoint}`, BLIP_EXECUTION_PROVIDER: 'cpu' };
  const settings = readSettings({ environment, shippedCheckpoint: '' });
  return startModel({ ...settings, maxBatchSize });
}

/** Five different pictures. */
async function pictures(): Promise<readonly string[]> {
  const whole = readFileSync(imagePath('chelsea'));
  const parts = [0, 40, 80, 120, 160].map((left) =>
    sharp(whole).extract({ left, top: left, width: 120, height: 100 }).png().toBuffer(),
  );
  return (await Promise.all(parts)).map((part) => part.toString('base64'));
}

const texts = ['a red cat', 'the', 'two dogs on a table'];

async function answers(checkpoint: string, maxBatchSize: number, inputs: object, outputs: readonly string[]) {
  const model = await start(checkpoint, maxBatchSize);
  try {
    return (await model.infer({ inputs: { img_url: await pictures(), text: texts, ...inputs }, outputs })).outputs;
  } finally {
    await model.close();
  }
}

describe.each([
  ['retrieval-wide-vision', {}, ['match_probability', 'cosine_similarity', 'image_embeds', 'text_embeds']],
  ['retrieval-wide-vision', { rerank_top_k: [1] }, ['match_probability', 'cosine_similarity']],
  ['retrieval-wide-vision', { rerank_top_k: [3] }, ['match_probability', 'cosine_similarity']],
  ['blip2-itm', { rerank_top_k: [2] }, ['match_probability', 'cosine_similarity', 'image_embeds', 'text_embeds']],
  ['clip-placeholder-end', {}, ['image_embeds', 'text_embeds', 'probability', 'cosine_similarity']],
] as const)('%s with %j', (checkpoint, inputs, outputs) => {
  test.each([1, 2, 4])('computed %d at a time, is as computed at once', async (maxBatchSize) => {
    const whole = await answers(checkpoint, 8, inputs, outputs);
    const parts = await answers(checkpoint, maxBatchSize, inputs, outputs);
    expect(parts.map(({ name, shape }) => [name, shape])).toEqual(whole.map(({ name, shape }) => [name, shape]));
    for (const [index, { data }] of whole.entries())
      expectClose((parts[index]?.data ?? []) as readonly number[], data as readonly number[], { absolute: 1e-5 });
  });
});

test('a picture of one line, which would be endless when resized, is refused before that', async () => {
  const model = await start('clip-real-end', 8);
  const create = { width: 16_000, height: 1, channels: 3, background: 'red' } as const;
  const line = (await sharp({ create }).png().toBuffer()).toString('base64');
  const refused = await expectHandlerError(
    model.infer({ inputs: { img_url: [line] }, outputs: ['image_embeds'] }),
    'IMAGE_TOO_LARGE',
  );
  expect(refused.message).toMatch(/16000000 pixels when its shorter side has 61, got 16000 x 1/);
  await model.close();
});
