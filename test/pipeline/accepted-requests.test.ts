import { describe, expect, test } from 'vitest';
import { AcceptedRequests, type WorkLimits } from '../../pipeline/accepted-requests.ts';

const overloaded = expect.objectContaining({ code: 'OVERLOADED' });
const never = new Promise<string>(() => undefined);
const items = (count: number, perItem = 1) => ({ items: count, sequences: count * perItem });
const start = (maxItems: number, limits: Partial<WorkLimits> = {}) => new AcceptedRequests({ maxItems, ...limits });

describe('the accepted requests of a model', () => {
  test('have room for as many items as the limit, and no more', async () => {
    const accepted = start(3);
    const { promise, resolve } = held();
    const answer = accepted.add(items(2), promise);
    expect(() => accepted.requireRoom(items(1))).not.toThrow();
    expect(() => accepted.requireRoom(items(2))).toThrow(overloaded);
    resolve('an answer');
    expect(await answer).toBe('an answer');
    expect(accepted.itemCount).toBe(0);
    expect(() => accepted.requireRoom(items(3))).not.toThrow();
  });

  test.each([
    [{}, items(4), 'Expected at most 3 items in one request, got 4.'],
    [{ maxItemsPerRequest: 2 }, items(3), 'Expected at most 2 items in one request, got 3.'],
    [{ maxSequencesPerRequest: 8 }, items(3, 3), /^Expected at most 8 sequences in one request .*, got 9\.$/],
    [{ maxSequencesPerClient: 8 }, items(1, 9), 'Expected at most 8 sequences of one client, got 9.'],
  ])('with %j refuse a request that never has room as one that is not valid: %j', (limits, size, message) => {
    expect(() => start(3, limits).requireRoom(size)).toThrow(expect.objectContaining({ code: 'INVALID_INPUT' }));
    expect(() => start(3, limits).requireRoom(size)).toThrow(message);
  });

  test('count the sequences of each client: beams, texts and candidates', () => {
    const accepted = start(100, { maxSequencesPerClient: 64 });
    void accepted.add(items(2, 32), never, 'a');
    expect(() => accepted.requireRoom(items(1), 'a')).toThrow(overloaded);
    expect(() => accepted.requireRoom(items(2, 32), 'b')).not.toThrow();
  });

  test('give every other client its share although one has filled the queue', () => {
    const accepted = start(250);
    void accepted.add(items(250), never, 'flood');
    expect(() => accepted.requireRoom(items(1), 'flood')).toThrow(overloaded);
    expect(() => accepted.requireRoom(items(126), 'other')).toThrow(overloaded);
    void accepted.add(items(125), never, 'other');
    expect(() => accepted.requireRoom(items(1), 'other')).toThrow(overloaded);
    expect(() => accepted.requireRoom(items(84))).not.toThrow(); // Without a name: a third client.
    expect(() => accepted.requireRoom(items(85))).toThrow(overloaded);
  });

  test('give back the room of requests that fail, and are settled when all have ended', async () => {
    const accepted = start(3);
    const { promise, reject } = held();
    const answer = accepted.add(items(3), promise, 'a');
    const settled = accepted.settled();
    reject(new Error('broken'));
    await expect(answer).rejects.toThrow('broken');
    await settled;
    expect(accepted.itemCount).toBe(0);
    expect(() => accepted.requireRoom(items(3), 'a')).not.toThrow();
  });
});

/** A promise that is settled from outside. */
function held() {
  let [resolve, reject] = [(_: string): void => undefined, (_: Error): void => undefined];
  const promise = new Promise<string>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}
