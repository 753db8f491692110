import { describe, expect, test } from 'vitest';
import { AcceptedRequests } from '../../pipeline/accepted-requests.ts';

describe('the accepted requests of a model', () => {
  test('have room for as many items as the limit, and no more', async () => {
    const accepted = new AcceptedRequests(3);
    const { promise, resolve } = held();
    const answer = accepted.add(2, promise);
    expect(() => accepted.requireRoom(1)).not.toThrow();
    expect(() => accepted.requireRoom(2)).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
    resolve('an answer');
    expect(await answer).toBe('an answer');
    expect(accepted.itemCount).toBe(0);
    expect(() => accepted.requireRoom(3)).not.toThrow();
  });

  test('refuse a request that never has room as one that is not valid', () => {
    expect(() => new AcceptedRequests(3).requireRoom(4)).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: 'Expected at most 3 items in one request, got 4.' }),
    );
  });

  test('give back the room of requests that fail, and are settled when all have ended', async () => {
    const accepted = new AcceptedRequests(3);
    const { promise, reject } = held();
    const answer = accepted.add(3, promise);
    const settled = accepted.settled();
    reject(new Error('broken'));
    await expect(answer).rejects.toThrow('broken');
    await settled;
    expect(accepted.itemCount).toBe(0);
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
