import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { decodeHolding } from '../../../pipeline/images/held-images.ts';
import type { ImageSource } from '../../../pipeline/images/image-source.ts';
import { loadImages } from '../../../pipeline/tasks/request-images.ts';
import { noTimes } from '../../../pipeline/tasks/task.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { imageOptions } from '../../support/image-options.ts';
import { expectHandlerError } from '../../support/thrown.ts';

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

test('a request whose images find no memory fails as a whole, and gives back that of the others', async () => {
  const budget = new FixedByteBudget(12);
  const loadImage = async (source: ImageSource) => {
    if (source === 'refused') throw new HandlerError('OVERLOADED', 'No room.');
    const decode = async () => ({ width: 2, height: 2, data: new Uint8Array(12) });
    return { image: await decodeHolding(decode, await budget.acquire(12)), ...noTimes() };
  };
  const modelImages = { imageProcessor, imageSize: config.vision.imageSize };
  const loading = loadImages(['loaded', 'refused'], modelImages, { loadImage, imageOptions }, noTimes());
  await expectHandlerError(loading, 'OVERLOADED');
  (await budget.acquire(12))();
});
