import { describe, expect, test } from 'vitest';
import { type FetchLimits, FetchTurns } from '../../../pipeline/images/fetch-turns.ts';

const limits: FetchLimits = { perProcess: 4, perClient: 3, perHost: 2, assured: 1 };

/** Asks for turns, and notes who got one. */
function noting(changes: Partial<FetchLimits> = {}) {
  const turns = new FetchTurns({ ...limits, ...changes });
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const ask = (client: string, host: string, name: string, signal?: AbortSignal) =>
    turns.take(client, host, signal).then((end) => {
      begun.push(name);
      ends.set(name, end);
    });
  return { turns, begun, ask, end: (name: string) => ends.get(name)?.() };
}

const settled = () => new Promise(setImmediate);

describe('turns to fetch', () => {
  test('are bounded for each host, client and process', async () => {
    const { begun, ask, turns } = noting();
    for (const name of ['1', '2', '3']) void ask('a', 'x', `ax${name}`);
    for (const name of ['1', '2']) void ask('a', 'y', `ay${name}`);
    await settled();
    expect(begun).toEqual(['ax1', 'ax2', 'ay1']); // Two at x, and three of a client.
    void ask('b', 'x', 'bx');
    void ask('b', 'y', 'by');
    await settled();
    expect(begun.slice(3)).toEqual(['bx']); // Four in the process.
    expect(turns.openCount).toBe(4);
  });

  test('are assured to a client that has none, however many are open', async () => {
    const { begun, ask, turns } = noting({ perProcess: 2 });
    for (const name of ['a1', 'a2', 'a3']) void ask('a', name, name);
    for (const name of ['b1', 'b2']) void ask('b', name, name);
    await settled();
    expect(begun).toEqual(['a1', 'a2', 'b1']);
    expect(turns.openCount).toBe(3);
  });

  test('go to the clients one after the other', async () => {
    const { begun, ask, end } = noting({ perProcess: 1, assured: 0 });
    for (const name of ['a1', 'a2', 'a3']) void ask('a', name, name);
    for (const name of ['b1', 'b2']) void ask('b', name, name);
    void ask('c', 'c1', 'c1');
    for (let index = 0; index < 6; index += 1) {
      await settled();
      end(begun.at(-1) ?? '');
    }
    expect(begun).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3']);
  });

  test('for a busy host wait, and let others of the client pass', async () => {
    const { begun, ask, end } = noting({ perHost: 1 });
    for (const [host, name] of [
      ['slow', 's1'],
      ['slow', 's2'],
      ['quick', 'q1'],
    ] as const)
      void ask('a', host, name);
    await settled();
    expect(begun).toEqual(['s1', 'q1']);
    end('s1');
    end('s1'); // Once is enough.
    await settled();
    expect(begun).toEqual(['s1', 'q1', 's2']);
  });

  test('that nobody waits for any more pass to the next', async () => {
    const { begun, ask, end, turns } = noting({ perProcess: 1, assured: 0 });
    const leaving = new AbortController();
    void ask('a', 'x', 'a1');
    const left = ask('a', 'x', 'a2', leaving.signal);
    void ask('a', 'x', 'a3');
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    await expect(ask('a', 'x', 'a4', leaving.signal)).rejects.toThrow('left');
    await settled();
    end('a1');
    await settled();
    expect(begun).toEqual(['a1', 'a3']);
    end('a3');
    expect(turns.openCount).toBe(0);
  });
});
