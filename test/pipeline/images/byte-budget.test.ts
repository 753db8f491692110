import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { settle, startBudget } from '../../support/byte-budget.ts';
import { expectHandlerError } from '../../support/thrown.ts';

const reason = new Error('dropped');

describe('a budget of bytes', () => {
  test('gives free bytes, and lets the next wait until enough are given back', async () => {
    const { served, acquire } = startBudget(100);
    const first = await acquire('first', 60);
    const second = await acquire('second', 40);
    void acquire('third', 70);
    await settle();
    second();
    await settle();
    expect(served).toEqual(['first', 'second']);
    first();
    await settle();
    expect(served).toEqual(['first', 'second', 'third']);
  });

  test('serves in the order of asking: a small one does not overtake a large one', async () => {
    const { served, acquire } = startBudget(100);
    const first = await acquire('first', 50);
    void acquire('large', 100).then((release) => release());
    void acquire('small', 1);
    await settle();
    expect(served).toEqual(['first']);
    first();
    await settle();
    expect(served).toEqual(['first', 'large', 'small']);
  });

  test('lets clients take turns by bytes, so that one with many claims does not keep another waiting', async () => {
    const { served, acquire } = startBudget(100);
    const releases: (() => void)[] = [];
    const names = Array.from({ length: 250 }, (_, index) => `flood ${index}`);
    for (const name of names) void acquire(name, 50, 'flood').then((release) => releases.push(release));
    void acquire('other', 60, 'other').then((release) => releases.push(release));
    await settle();
    expect(served).toEqual(['flood 0', 'flood 1']);
    for (let turn = 0; turn < 2; turn += 1) releases.shift()?.();
    await settle();
    expect(served[2]).toBe('other');
  });

  test('takes released bytes back once, however often they are released', async () => {
    const { served, acquire } = startBudget(100);
    const first = await acquire('first', 60);
    await acquire('second', 40);
    first();
    first();
    await acquire('third', 60);
    void acquire('fourth', 60);
    await settle();
    expect(served).toEqual(['first', 'second', 'third']);
  });

  test('is left by those whose signal aborts while they wait, and those behind them move up', async () => {
    const { budget, served, acquire } = startBudget(100);
    const first = await acquire('first', 60);
    const dropped = new AbortController();
    const large = budget.acquire(100, dropped.signal);
    const small = acquire('small', 40);
    dropped.abort(reason);
    await expect(large).rejects.toBe(reason);
    (await small)();
    first();
    await expect(budget.acquire(1, dropped.signal)).rejects.toBe(reason);
    (await acquire('all', 100))();
    expect(served).toEqual(['first', 'small', 'all']);
  });

  test('leaves no listener on the signals of those who got their bytes', async () => {
    const { signal } = new AbortController();
    await new FixedByteBudget(100).acquire(100, signal);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('gives all bytes at once, and refuses more than it has in all', async () => {
    const { budget, acquire } = startBudget(100);
    (await acquire('all', 100))();
    const { message } = await expectHandlerError(budget.acquire(101), 'IMAGE_TOO_LARGE');
    expect(message).toMatch(/at most 100 bytes decoded, got 101\.$/);
    (await acquire('all', 100))();
  });
});
