import { describe, expect, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { jointBudgets } from '../../../pipeline/images/joint-budgets.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** Lets pending promises settle. */
const settle = () => new Promise(setImmediate);

const reason = new Error('dropped');

/** A budget, and the names of those who got bytes, in order. */
function start(capacityBytes: number) {
  const budget = new FixedByteBudget(capacityBytes);
  const got: string[] = [];
  const acquire = async (name: string, byteCount: number) => {
    const release = await budget.acquire(byteCount);
    got.push(name);
    return release;
  };
  return { budget, got, acquire };
}

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

  test('may all withdraw; to withdraw after acquiring changes nothing', async () => {
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
