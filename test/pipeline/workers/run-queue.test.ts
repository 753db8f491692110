import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { decodeHolding } from '../../../pipeline/images/held-images.ts';
import type { RgbImage } from '../../../pipeline/images/rgb-image.ts';
import { RunQueue } from '../../../pipeline/workers/run-queue.ts';

interface NumberedBatch {
  readonly images: readonly RgbImage[];
  readonly number: number;
}

const batch = (number: number): NumberedBatch => ({ images: [], number });

/** A queue before workers that answer a batch with its number, when they are told to. */
function start(workerCount: number) {
  const begun: number[] = [];
  const finishers: ((failure?: Error) => void)[] = [];
  let idle = workerCount;
  let announceRoom: () => void = () => undefined;
  const setIdle = (count: number) => {
    idle = count;
    if (idle > 0) announceRoom();
  };
  const queue = new RunQueue<NumberedBatch, number>({
    hasRoom: () => idle > 0,
    idleCount: () => idle,
    hasRoomFor: () => idle > 0,
    onRoom(listener) {
      announceRoom = listener;
    },
    run({ number }) {
      idle -= 1;
      begun.push(number);
      return new Promise((resolve, reject) => {
        finishers.push((failure) => {
          if (failure === undefined) resolve(number);
          else reject(failure);
          setIdle(idle + 1);
        });
      });
    },
  });
  const finish = async (failure?: Error) => {
    finishers.shift()?.(failure);
    await new Promise(setImmediate);
  };
  const run = async (number: number) => (await queue.run(batch(number))).result;
  return { queue, run, begun, finish, setIdle };
}

describe('the queue of runs', () => {
  test('runs a batch at once where a worker is idle', async () => {
    const { run, begun, finish } = start(1);
    const result = run(7);
    expect(begun).toEqual([7]);
    await finish();
    expect(await result).toBe(7);
  });

  test('lets clients take turns by work', async () => {
    const { queue, begun, finish } = start(1);
    const run = (number: number, client: string, work: number) => void queue.run(batch(number), { client, work });
    for (let number = 0; number < 250; number += 1) run(number, 'flood', 100);
    for (const number of [1_000, 1_001]) run(number, 'other', 50);
    for (let turn = 0; turn < 4; turn += 1) await finish();
    expect(begun.slice(0, 4)).toEqual(expect.arrayContaining([1_000, 1_001]));
  });

  test('runs the others as workers become idle, in the order in which they came', async () => {
    const { run, begun, finish } = start(2);
    const results = [1, 2, 3, 4, 5].map(run);
    expect(begun).toEqual([1, 2]);
    await finish();
    expect(begun).toEqual([1, 2, 3]);
    for (let count = 0; count < 4; count += 1) await finish();
    expect(begun).toEqual([1, 2, 3, 4, 5]);
    expect(await Promise.all(results)).toEqual([1, 2, 3, 4, 5]);
  });

  test('runs what waited when a worker comes anew, after none was left', async () => {
    const { run, begun, finish, setIdle } = start(0);
    const results = [1, 2].map(run);
    expect(begun).toEqual([]);
    setIdle(1);
    expect(begun).toEqual([1]);
    await finish();
    await finish();
    expect(await Promise.all(results)).toEqual([1, 2]);
  });

  test('passes a failure to the batch that failed, and goes on', async () => {
    const { run, finish } = start(1);
    const [first, second] = [run(1), run(2)];
    const failed = expect(first).rejects.toThrow('broken');
    await finish(new Error('broken'));
    await failed;
    await finish();
    expect(await second).toBe(2);
  });

  test('says how long a batch waited for a worker', async () => {
    const { queue, finish } = start(1);
    const [first, second] = [queue.run(batch(1)), queue.run(batch(2))];
    await new Promise((resolve) => setTimeout(resolve, 30));
    await finish();
    await finish();
    expect((await first).queueMs).toBeLessThan(20);
    expect((await second).queueMs).toBeGreaterThan(20);
  });

  describe('batches whose requests are dropped', () => {
    const reason = new Error('dropped');

    test('leave while they wait; the others go on in their order', async () => {
      const { queue, begun, finish } = start(1);
      const dropped = new AbortController();
      const first = queue.run(batch(1));
      const second = queue.run(batch(2), { signal: dropped.signal });
      const third = queue.run(batch(3), { signal: new AbortController().signal });
      dropped.abort(reason);
      await expect(second).rejects.toBe(reason);
      await finish();
      await finish();
      expect(begun).toEqual([1, 3]);
      expect((await first).result).toBe(1);
      expect((await third).result).toBe(3);
    });

    test('are computed to their end when they run', async () => {
      const { queue, finish } = start(1);
      const dropped = new AbortController();
      const running = queue.run(batch(1), { signal: dropped.signal });
      dropped.abort(reason);
      await finish();
      expect((await running).result).toBe(1);
    });

    test('are not kept by their signals once they run', () => {
      const { queue } = start(1);
      const { signal } = new AbortController();
      void queue.run(batch(1), { signal: signal });
      void queue.run(batch(2), { signal: signal });
      expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    });

    test('give back the memory of their images, whether they wait or run', async () => {
      const { queue, finish } = start(1);
      const budget = new FixedByteBudget(2);
      const withImage = async (number: number) => {
        const image = { width: 1, height: 1, data: new Uint8Array(3) };
        return { number, images: [await decodeHolding(async () => image, await budget.acquire(1))] };
      };
      const dropped = new AbortController();
      const running = queue.run(await withImage(1), { signal: dropped.signal });
      const waiting = queue.run(await withImage(2), { signal: dropped.signal });
      dropped.abort(reason);
      await expect(waiting).rejects.toBe(reason);
      (await budget.acquire(1))();
      const all = budget.acquire(2);
      await finish();
      await running;
      (await all)();
    });

    test('do not begin when they are dropped before', async () => {
      const { queue, begun } = start(1);
      await expect(queue.run(batch(1), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      expect(begun).toEqual([]);
    });
  });
});
