import { describe, expect, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { FetchedByteBudget } from '../../../pipeline/images/fetched-bytes.ts';
import { WaitingBytes } from '../../../pipeline/images/waiting-bytes.ts';
import { expectHandlerError } from '../../support/thrown.ts';

const MEGABYTE = 1_000_000;
const settled = () => new Promise(setImmediate);

/** Whether bytes are free in a budget. */
async function isFree(budget: FixedByteBudget, byteCount: number): Promise<boolean> {
  const leaving = new AbortController();
  const taken = budget.acquire(byteCount, leaving.signal).then(
    (release) => {
      release();
      return true;
    },
    () => false,
  );
  await settled();
  leaving.abort();
  return await taken;
}

describe('the memory of images that arrive', () => {
  test('grows by steps, to at most twice the bytes that have come, and is given back', async () => {
    const budget = new FixedByteBudget(10 * MEGABYTE);
    const bytes = new FetchedByteBudget(budget).open('a', undefined);
    await bytes.growTo(1_000, 8 * MEGABYTE);
    expect(bytes.has(200_000)).toBe(true);
    expect(await isFree(budget, 9.7 * MEGABYTE)).toBe(true);
    await bytes.growTo(3 * MEGABYTE, 8 * MEGABYTE);
    expect(await isFree(budget, 7 * MEGABYTE)).toBe(true);
    expect(await isFree(budget, 7 * MEGABYTE + 1)).toBe(false);
    await bytes.growTo(5 * MEGABYTE, 8 * MEGABYTE);
    expect(await isFree(budget, 4 * MEGABYTE)).toBe(true);
    bytes.release();
    bytes.release();
    await settled();
    expect(await isFree(budget, 10 * MEGABYTE)).toBe(true);
  });

  test('takes no more than the image can have', async () => {
    const budget = new FixedByteBudget(MEGABYTE);
    const bytes = new FetchedByteBudget(budget).open('a', undefined);
    await bytes.growTo(1_000, 5_000);
    expect(await isFree(budget, MEGABYTE - 5_000)).toBe(true);
  });

  test('goes beyond the budget for one image of each client, so that all arrive', async () => {
    const fetched = new FetchedByteBudget(new FixedByteBudget(2 * MEGABYTE));
    const images = ['a', 'a', 'a', 'b'].map((client) => fetched.open(client, undefined));
    await Promise.all(images.slice(0, 2).map((image) => image.growTo(MEGABYTE, MEGABYTE)));
    const arrived: number[] = [];
    const growing = images.map(async (image, index) => {
      await image.growTo(1.5 * MEGABYTE, 2 * MEGABYTE); // Nobody has room for it.
      arrived.push(index);
    });
    await settled();
    await settled();
    expect(arrived).toEqual([0, 3]);
    images[0]?.release();
    await growing[1];
    images[1]?.release();
    await Promise.all(growing);
    for (const image of images) image.release();
  });

  test('is left to others by an image that waits for them, which counts apart', async () => {
    const fetched = new FetchedByteBudget(new FixedByteBudget(2 * MEGABYTE), new WaitingBytes(MEGABYTE));
    const waitFor = async (byteCount: number) => {
      const image = fetched.open('a', undefined);
      await image.growTo(byteCount, 2 * MEGABYTE);
      image.waitForOthers(byteCount);
      return image;
    };
    const images = await Promise.all([waitFor(400_000), waitFor(600_000)]);
    await expectHandlerError(waitFor(1), 'OVERLOADED');
    fetched.open('a', undefined).waitForOthers(2 * MEGABYTE); // It came with its request.
    for (const image of images) image.release();
    (await waitFor(MEGABYTE)).release();
  });

  test('is waited for until the request is dropped', async () => {
    const fetched = new FetchedByteBudget(new FixedByteBudget(10));
    const leaving = new AbortController();
    const [first, second] = [fetched.open('a', undefined), fetched.open('a', leaving.signal)];
    await first.growTo(100, 100); // Beyond the budget.
    const waiting = second.growTo(100, 100);
    leaving.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
    first.release();
    await fetched.open('a', undefined).growTo(100, 100);
  });
});
