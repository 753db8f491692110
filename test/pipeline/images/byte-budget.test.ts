import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { createByteBudget, jointBudgets, sharedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** Lets everything happen that waits for nothing. */
const settle = () => new Promise(setImmediate);

const reason = new Error('dropped');

/** A budget, and who has got something of it, in order. */
function start(capacityBytes: number) {
  const budget = createByteBudget(capacityBytes);
  const got: string[] = [];
  const acquire = async (name: string, byteCount: number) => {
    const release = await budget.acquire(byteCount);
    got.push(name);
    return release;
  };
  return { budget, got, acquire };
}

describe('a budget of bytes', () => {
  test('gives what there is, and lets the next wait until enough is given back', async () => {
    const { got, acquire } = start(100);
    const first = await acquire('first', 60);
    const second = await acquire('second', 40);
    void acquire('third', 70);
    await settle();
    second();
    await settle();
    expect(got).toEqual(['first', 'second']);
    first();
    await settle();
    expect(got).toEqual(['first', 'second', 'third']);
  });

  test('serves in the order of asking: a small one does not overtake a large one', async () => {
    const { got, acquire } = start(100);
    const first = await acquire('first', 50);
    void acquire('large', 100).then((release) => release());
    void acquire('small', 1);
    await settle();
    expect(got).toEqual(['first']);
    first();
    await settle();
    expect(got).toEqual(['first', 'large', 'small']);
  });

  test('takes back what is released once, however often that is said', async () => {
    const { got, acquire } = start(100);
    const first = await acquire('first', 60);
    await acquire('second', 40);
    first();
    first();
    await acquire('third', 60);
    void acquire('fourth', 60);
    await settle();
    expect(got).toEqual(['first', 'second', 'third']);
  });

  test('is left by those whose signal aborts while they wait, and those behind them move up', async () => {
    const { budget, got, acquire } = start(100);
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
    expect(got).toEqual(['first', 'small', 'all']);
  });

  test('is not heard of by the signals of those who have got what they wanted', async () => {
    const { signal } = new AbortController();
    await createByteBudget(100).acquire(100, signal);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('gives all of itself at once, and refuses what it can never have', async () => {
    const { budget, acquire } = start(100);
    (await acquire('all', 100))();
    const { message } = await expectHandlerError(budget.acquire(101), 'IMAGE_TOO_LARGE');
    expect(message).toMatch(/at most 100 bytes decoded, got 101\.$/);
    (await acquire('all', 100))();
  });

  test('is one for all that have the same limit', () => {
    expect(sharedByteBudget(123)).toBe(sharedByteBudget(123));
    expect(sharedByteBudget(123)).not.toBe(sharedByteBudget(124));
  });
});

describe('joint budgets', () => {
  test('acquire when all have asked or withdrawn, and give back when the last does', async () => {
    const { budget, got, acquire } = start(100);
    const [one, two, three] = jointBudgets(budget, 3);
    const acquired = Promise.all([one?.acquire(40), two?.acquire(60)]);
    const other = acquire('other', 100);
    await settle();
    expect(got).toEqual(['other']); // The third may still ask for more than there is.
    three?.withdraw();
    (await other)();
    const [releaseOne, releaseTwo] = await acquired;
    void acquire('last', 1);
    releaseOne?.();
    await settle();
    expect(got).toEqual(['other']);
    releaseTwo?.();
    await settle();
    expect(got).toEqual(['other', 'last']);
  });

  test('are all refused where they are too much together, and hold nothing', async () => {
    const { budget, acquire } = start(100);
    const [one, two] = jointBudgets(budget, 2);
    const refused = [one?.acquire(60), two?.acquire(60)].map((acquired) =>
      expectHandlerError(Promise.resolve(acquired), 'IMAGE_TOO_LARGE'),
    );
    expect((await Promise.all(refused)).map(({ message }) => message)).toEqual([
      expect.stringMatching(/got 120\.$/),
      expect.stringMatching(/got 120\.$/),
    ]);
    (await acquire('all', 100))();
  });

  test('may all withdraw; to withdraw what is acquired changes nothing', async () => {
    const { budget, got, acquire } = start(100);
    for (const each of jointBudgets(budget, 2)) each.withdraw();
    const [alone] = jointBudgets(budget, 1);
    const release = await alone?.acquire(100);
    alone?.withdraw();
    void acquire('next', 100);
    await settle();
    expect(got).toEqual([]);
    release?.();
    await settle();
    expect(got).toEqual(['next']);
  });

  test('leave together when their request is dropped while they wait', async () => {
    const { budget, acquire } = start(100);
    const first = await acquire('first', 1);
    const dropped = new AbortController();
    const members = jointBudgets(budget, 2, dropped.signal);
    const asked = Promise.allSettled(members.map((member) => member.acquire(50)));
    const next = acquire('next', 99);
    dropped.abort(reason);
    expect(await asked).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ]);
    (await next)();
    first();
    (await acquire('all', 100))();
  });

  test('of two requests never wait for each other', async () => {
    const { budget } = start(100);
    const ask = async () => {
      const members = jointBudgets(budget, 2);
      const releases = await Promise.all(
        members.map(async (member) => {
          await settle();
          return await member.acquire(50);
        }),
      );
      await settle();
      for (const release of releases) release();
    };
    await Promise.all(Array.from({ length: 20 }, ask));
  });
});
