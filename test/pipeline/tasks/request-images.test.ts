import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { decodeHolding } from '../../../pipeline/images/held-images.ts';
import { loadImages } from '../../../pipeline/tasks/request-images.ts';
import { noTimes } from '../../../pipeline/tasks/task.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { imageOptions } from '../../support/image-options.ts';

const { imageProcessor, config } = openCheckpoint(checkpointFolder('clip-real-end'));
const WIDTH = 200_000;

test('an image that is refused after it was decoded gives back its memory', async () => {
  const budget = new FixedByteBudget(WIDTH * 3);
  const loadImage = async () => {
    const decode = async () => ({ width: WIDTH, height: 1, data: new Uint8Array(WIDTH * 3) });
    return { image: await decodeHolding(decode, await budget.acquire(WIDTH * 3)), ...noTimes() };
  };
  const modelImages = { imageProcessor, imageSize: config.vision.imageSize };
  const loaded = await loadImages(['long'], modelImages, { loadImage, imageOptions }, noTimes());
  expect(loaded).toMatchObject([{ error: { code: 'IMAGE_TOO_LARGE' } }]);
  (await budget.acquire(WIDTH * 3))();
});
