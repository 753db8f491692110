import { describe, expect, test } from 'vitest';
import { createKeptAnswers } from '../../../../handlers/http/doors/runpod/kept-answers.ts';

/** Answers that are kept for a while, by a clock of the test's own. */

const KIBIBYTE = 1_024;
const MINUTE_MS = 60_000;

function start(maxKibibytes = 1_000) {
  let now = 0;
  const kept = createKeptAnswers(maxKibibytes * KIBIBYTE, () => now);
  return {
    kept,
    passMs: (ms: number) => {
      now += ms;
    },
    /** With what every answer counts beside its bytes. */
    keep: (id: string, kibibytes: number, keptMs = MINUTE_MS) =>
      kept.keep(id, new Uint8Array((kibibytes - 1) * KIBIBYTE), keptMs),
    ids: (...ids: string[]) => ids.filter((id) => kept.read(id) !== undefined),
  };
}

test('an answer is there until its time is over', () => {
  const { kept, keep, passMs, ids } = start();
  keep('short', 2);
  keep('long', 3, 2 * MINUTE_MS);
  passMs(MINUTE_MS - 1);
  expect(kept.read('short')).toHaveLength(KIBIBYTE);
  expect(kept.read('none')).toBeUndefined();
  passMs(1);
  expect(ids('short', 'long')).toEqual(['long']);
  passMs(MINUTE_MS);
  expect(ids('short', 'long')).toEqual([]);
});

describe('where there is no room', () => {
  test('the oldest goes', () => {
    const { keep, ids } = start(4);
    for (const id of ['first', 'second', 'third', 'fourth']) expect(keep(id, 1)).toBe(true);
    expect(keep('large', 3)).toBe(true);
    expect(ids('first', 'second', 'third', 'fourth', 'large')).toEqual(['fourth', 'large']);
  });

  test('those that are kept the shortest time go first', () => {
    const { keep, ids } = start(4);
    keep('long', 2, 30 * MINUTE_MS);
    keep('short', 2);
    keep('longer', 2, 30 * MINUTE_MS);
    expect(ids('long', 'short', 'longer')).toEqual(['long', 'longer']);
  });

  test('what is larger than all the room is not kept, and costs nobody a place', () => {
    const { keep, ids } = start(4);
    keep('small', 4);
    expect(keep('large', 5)).toBe(false);
    expect(ids('small', 'large')).toEqual(['small']);
  });

  test('what has expired makes it', () => {
    const { keep, passMs, ids } = start(4);
    keep('long', 2, 2 * MINUTE_MS);
    keep('short', 2);
    passMs(MINUTE_MS);
    for (const id of ['one', 'two']) keep(id, 1);
    expect(ids('long', 'one', 'two')).toEqual(['long', 'one', 'two']);
  });
});

test('what nobody has read is known, while it is kept', () => {
  const { kept, keep, passMs } = start();
  keep('read', 1);
  keep('unread', 1);
  kept.read('read');
  passMs(2);
  keep('new', 1, MINUTE_MS / 2);
  expect(kept.unread()).toEqual(['new', 'unread']);
  passMs(1);
  expect(kept.unread(3)).toEqual(['new']);
  expect(kept.unread(4)).toEqual(['new', 'unread']);
  passMs(MINUTE_MS);
  expect(kept.unread()).toEqual([]);
});
