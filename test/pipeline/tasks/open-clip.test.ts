import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../../pipeline/model.ts';
import { shapesOf, valuesOf } from '../../support/answers.ts';
import { expectClose } from '../../support/close-to.ts';
import { openClipNames, openGoldenTensors } from '../../support/goldens.ts';
import { openClipFolder, readOpenClipGoldens } from '../../support/open-clip.ts';
import { dataUri, testSettings } from '../../support/server.ts';

/** End to end with open_clip's own files: the goldens are open_clip's, from the same pictures and texts. */

/** A difference of one grey level in the resize moves the numbers of pictures. */
const IMAGE_TOLERANCE = { absolute: 2e-2 };
const SCORE_TOLERANCE = { absolute: 5e-3 };
const TEXT_TOLERANCE = { absolute: 1e-4 };

describe.each(openClipNames)('a folder of open_clip is served: %s', (name) => {
  const { images, texts } = readOpenClipGoldens().checkpoints[name];
  const goldens = openGoldenTensors(`open-clip-${name}`);
  let model: RunningModel;
  beforeAll(async () => {
    model = await startModel(testSettings({ checkpoint: openClipFolder(name) }));
  });
  afterAll(() => model?.close());

  test('pictures with texts', async () => {
    const inputs = { img_url: images.map((image) => dataUri(image)), text: texts.map(({ text }) => text) };
    const answer = await model.infer({ inputs, outputs: ['image_embeds', 'text_embeds', 'probability'] });
    const numbers = (tensor: string) => valuesOf(answer, tensor).map(Number);
    const golden = (tensor: string) => goldens.floats(tensor).data;
    expect(shapesOf(answer).at(-1)).toEqual(['probability', [images.length, texts.length]]);
    expectClose(numbers('image_embeds'), golden('image_embeds'), IMAGE_TOLERANCE);
    expectClose(numbers('text_embeds'), golden('text_embeds'), TEXT_TOLERANCE);
    expectClose(numbers('probability'), golden('probability'), SCORE_TOLERANCE);
  });
});
