import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AnswerCache } from '../../../../handlers/http/doors/runpod/answer-cache.ts';

/** Answers that are kept for a while, with fake timers. */

beforeEach(() => {
  vi.useFakeTimers();
  vi.advanceTimersByTime(1); // lru-cache takes the time 0 for an absent one.
});
afterEach(() => void vi.useRealTimers());

const KIBIBYTE = 1_024;
const MINUTE_MS = 60_000;

function start(maxKibibytes = 1_000) {
  const cache = new AnswerCache(maxKibibytes * KIBIBYTE);
  return {
    cache,
    passMs: (ms: number) => void vi.advanceTimersByTime(ms),
    /** Keeps an answer of this size, including the bytes that are added to every answer. */
    keep: (id: string, kibibytes: number, keptMs = MINUTE_MS) =>
      cache.keep(id, new Uint8Array((kibibytes - 1) * KIBIBYTE), keptMs),
    ids: (...ids: string[]) => ids.filter((id) => cache.read(id) !== undefined),
  };
}

test('an answer is kept until its time is over', () => {
  const { cache, keep, passMs, ids } = start();
  keep('short', 2);
  keep('long', 3, 2 * MINUTE_MS);
  passMs(MINUTE_MS);
  expect(cache.read('short')).toHaveLength(KIBIBYTE);
  expect(cache.read('none')).toBeUndefined();
  passMs(1);
  expect(ids('short', 'long')).toEqual(['long']);
  passMs(MINUTE_MS);
  expect(ids('short', 'long')).toEqual([]);
});

describe('without room', () => {
  test('the oldest answer goes first', () => {
    const { keep, ids } = start(4);
    for (const id of ['first', 'second', 'third', 'fourth']) expect(keep(id, 1)).toBe(true);
    expect(keep('large', 3)).toBe(true);
    expect(ids('first', 'second', 'third', 'fourth', 'large')).toEqual(['fourth', 'large']);
  });

  test('answers with the shortest time go before older ones', () => {
    const { keep, ids } = start(4);
    keep('long', 2, 30 * MINUTE_MS);
    keep('short', 2);
    keep('longer', 2, 30 * MINUTE_MS);
    expect(ids('long', 'short', 'longer')).toEqual(['long', 'longer']);
  });

  test('an answer larger than the cache is not kept, and pushes no other out', () => {
    const { keep, ids } = start(4);
    keep('small', 4);
    expect(keep('large', 5)).toBe(false);
    expect(ids('small', 'large')).toEqual(['small']);
  });

  test('expired answers go before the others', () => {
    const { keep, passMs, ids } = start(4);
    keep('long', 2, 2 * MINUTE_MS);
    keep('short', 2);
    passMs(MINUTE_MS + 1);
    for (const id of ['one', 'two']) keep(id, 1);
    expect(ids('long', 'one', 'two')).toEqual(['long', 'one', 'two']);
  });
});

test('the cache lists answers that nobody has read, while it keeps them', () => {
  const { cache, keep, passMs } = start();
  keep('read', 1);
  keep('unread', 1);
  cache.read('read');
  passMs(2);
  keep('new', 1, MINUTE_MS / 2);
  expect(cache.unread()).toEqual(['new', 'unread']);
  passMs(1);
  expect(cache.unread(3)).toEqual(['new']);
  expect(cache.unread(4)).toEqual(['new', 'unread']);
  passMs(MINUTE_MS);
  expect(cache.unread()).toEqual([]);
});
