import { describe, expect, test } from 'vitest';
import { FairQueue } from '../../pipeline/fair-queue.ts';

/** Adds items `a0`, `a1`, … of client `a`, each with equal work. */
function addAll(turns: FairQueue<string>, client: string | undefined, count: number, work = 1): void {
  for (let index = 0; index < count; index += 1) turns.add(`${client}${index}`, client, work);
}

/** Serves items until none waits, or so many were served. */
function serve(turns: FairQueue<string>, count = Number.POSITIVE_INFINITY): readonly string[] {
  const served: string[] = [];
  for (let item = turns.next(); item !== undefined && served.length < count; item = turns.next()) {
    served.push(item);
    turns.take(item);
  }
  return served;
}

describe('turns among clients', () => {
  test('serve one client in the order of its items, with or without a name', () => {
    for (const client of ['a', undefined]) {
      const turns = new FairQueue<string>();
      addAll(turns, client, 3);
      expect(turns.inTurn()).toEqual([0, 1, 2].map((index) => `${client}${index}`));
      expect(serve(turns)).toEqual([0, 1, 2].map((index) => `${client}${index}`));
      expect(turns.size).toBe(0);
    }
  });

  test('serve the one item of a client before the second of a client with many', () => {
    const turns = new FairQueue<string>();
    addAll(turns, 'a', 250);
    expect(serve(turns, 10)).toHaveLength(10);
    addAll(turns, 'b', 1);
    expect(serve(turns, 2)).toContain('b0');
  });

  test('count work, not items: a client with dear items gets as much as one with many cheap ones', () => {
    const turns = new FairQueue<string>();
    addAll(turns, 'dear', 10, 100);
    addAll(turns, 'cheap', 1_000, 1);
    const served = serve(turns, 404);
    expect(served.filter((item) => item.startsWith('dear'))).toHaveLength(4);
  });

  test('give a client that did not ask no more than its share afterwards', () => {
    const turns = new FairQueue<string>();
    addAll(turns, 'a', 100);
    serve(turns, 50);
    addAll(turns, 'b', 50);
    expect(serve(turns, 20).filter((item) => item.startsWith('b'))).toHaveLength(10);
  });

  test('starve no item, however large, when others keep coming', () => {
    const turns = new FairQueue<string>();
    turns.add('large', 'a', 1_000_000);
    let servedBefore = 0;
    for (let round = 0; turns.size > 0 && round < 100; round += 1) {
      turns.add(`b${round}`, 'b', 1);
      turns.add(`c${round}`, 'c', 1);
      if (turns.next() === 'large') break;
      servedBefore += serve(turns, 1).length;
    }
    expect(servedBefore).toBeLessThan(4);
  });

  test('go on without an item that is withdrawn, which costs its client nothing', () => {
    const turns = new FairQueue<string>();
    addAll(turns, 'a', 2, 1_000);
    addAll(turns, 'b', 2, 1);
    expect(turns.withdraw('a0')).toBe(true);
    expect(turns.withdraw('a0')).toBe(false);
    expect(serve(turns)).toEqual(['a1', 'b0', 'b1']);
  });

  test.each([
    [1, 1, 1],
    [3, 1, 7],
    [5, 5, 2],
  ])('tell the order that serving follows, for work %i, %i and %i', (...works) => {
    const turns = new FairQueue<string>();
    for (const [index, client] of ['a', 'b', undefined].entries()) addAll(turns, client, 9, works[index]);
    const told = turns.inTurn();
    expect(serve(turns)).toEqual(told);
  });

  test('may be served out of order, which counts all the same', () => {
    const turns = new FairQueue<string>();
    addAll(turns, 'a', 3);
    addAll(turns, 'b', 1);
    turns.take('a2');
    expect(serve(turns)).toEqual(['b0', 'a0', 'a1']);
  });
});
