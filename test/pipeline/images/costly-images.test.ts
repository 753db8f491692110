import sharp from 'sharp';
import { expect, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { releaseImages } from '../../../pipeline/images/held-images.ts';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import { type ImageOptions, loadImage } from '../../../pipeline/images/image-source.ts';
import { avifGrid, jpegOfManyScans } from '../../support/costly-images.ts';
import { imageOptions } from '../../support/image-options.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** Images that take long to decode keep no other client waiting, and stop when nobody waits for them. */

const [WIDTH, HEIGHT] = [2_400, 2_000];
const COSTLY_BYTES = WIDTH * HEIGHT * 3;
/** Within the limits of structure, and costly enough for a process of its own. */
const costly = jpegOfManyScans(WIDTH, HEIGHT, 99);
const options: ImageOptions = { ...imageOptions, maxPixels: 50_000_000, maxSide: 16_384, decodeTimeoutMs: 10_000 };

const ordinary = () =>
  sharp({ create: { width: 300, height: 200, channels: 3, background: '#336699' } })
    .jpeg()
    .toBuffer();

test('many of one client keep another waiting neither for a decoder nor for memory', async () => {
  const decodedBudget = new FixedByteBudget(COSTLY_BYTES * 3 + 300 * 200 * 3);
  const answered: string[] = [];
  const load = async (name: string, client: string, bytes: Uint8Array) => {
    const { image } = await loadImage(bytes, { ...options, client, decodedBudget });
    answered.push(name);
    releaseImages([image]);
  };
  const hostile = Array.from({ length: 6 }, (_, index) => load(`a${index}`, 'a', costly));
  const others = [load('b', 'b', await ordinary()), load('c', 'c', costly)];
  await Promise.all(others);
  expect(answered.filter((name) => name.startsWith('a')).length).toBeLessThan(5);
  await Promise.all(hostile);
  (await decodedBudget.acquire(COSTLY_BYTES * 3))();
});

test('one whose request is dropped gives back its memory and its decoder at once', async () => {
  const decodedBudget = new FixedByteBudget(COSTLY_BYTES);
  const reason = new Error('dropped');
  for (let round = 0; round < 3; round += 1) {
    const dropped = new AbortController();
    const loading = loadImage(costly, { ...options, client: 'a', decodedBudget, signal: dropped.signal });
    const waiting = loadImage(costly, { ...options, client: 'a', decodedBudget, signal: dropped.signal });
    setTimeout(() => dropped.abort(reason), 30 * round);
    const rejected = { status: 'rejected', reason };
    expect(await Promise.allSettled([loading, waiting])).toEqual([rejected, rejected]);
    (await decodedBudget.acquire(COSTLY_BYTES))();
  }
});

test('one that takes too long is given up, and fails alone', async () => {
  const limited = { ...options, decodedBudget: new FixedByteBudget(COSTLY_BYTES), decodeTimeoutMs: 1 };
  const grid = await avifGrid(64, 12, 12);
  await expectHandlerError(loadImage(costly, limited), 'IMAGE_TOO_COMPLEX');
  expect((await loadImage(grid, { ...limited, decodeTimeoutMs: 60_000 })).image).toMatchObject({ width: 768 });
  expect((await loadImage(await ordinary(), options)).image).toMatchObject({ width: 300, height: 200 });
});

test('one has the pixels that it has in this process', async () => {
  const { image } = await loadImage(costly, options);
  const { data } = await decodeImage(costly, options);
  expect(Buffer.from(data).equals(image.data)).toBe(true);
});
