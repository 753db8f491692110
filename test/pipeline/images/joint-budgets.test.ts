import { describe, expect, test } from 'vitest';
import { jointBudgets } from '../../../pipeline/images/joint-budgets.ts';
import { settle, startBudget } from '../../support/byte-budget.ts';
import { expectHandlerError } from '../../support/thrown.ts';

const reason = new Error('dropped');

describe('joint budgets', () => {
  test('acquire once all have asked or withdrawn, and give the bytes back once all have released', async () => {
    const { budget, served, acquire } = startBudget(100);
    const [one, two, three] = jointBudgets(budget, 3);
    const acquired = Promise.all([one?.acquire(40), two?.acquire(60)]);
    const other = acquire('other', 100);
    await settle();
    expect(served).toEqual(['other']); // The third may still ask for more than there is.
    three?.withdraw();
    (await other)();
    const [releaseOne, releaseTwo] = await acquired;
    void acquire('last', 1);
    releaseOne?.();
    await settle();
    expect(served).toEqual(['other']);
    releaseTwo?.();
    await settle();
    expect(served).toEqual(['other', 'last']);
  });

  test('are all refused, and hold nothing, where their bytes together exceed the budget', async () => {
    const { budget, acquire } = startBudget(100);
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

  test('are refused as soon as they have asked for too much, whatever the others do', async () => {
    const { budget } = startBudget(100);
    const [one, two, three, four] = jointBudgets(budget, 5);
    const refused = [one?.acquire(60), two?.acquire(30), three?.acquire(20)];
    for (const asked of refused) {
      const error = await expectHandlerError(Promise.resolve(asked), 'IMAGE_TOO_LARGE');
      expect(error.message).toMatch(/got 110\.$/);
    }
    await expectHandlerError(Promise.resolve(four?.acquire(1)), 'IMAGE_TOO_LARGE');
  });

  test('hold nothing once all have withdrawn; a withdrawal after acquiring changes nothing', async () => {
    const { budget, served, acquire } = startBudget(100);
    for (const each of jointBudgets(budget, 2)) each.withdraw();
    const [alone] = jointBudgets(budget, 1);
    const release = await alone?.acquire(100);
    alone?.withdraw();
    void acquire('next', 100);
    await settle();
    expect(served).toEqual([]);
    release?.();
    await settle();
    expect(served).toEqual(['next']);
  });

  test('stop waiting together when their request is dropped', async () => {
    const { budget, acquire } = startBudget(100);
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

  test('of several requests do not block each other for ever', async () => {
    const { budget } = startBudget(100);
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
