import { describe, expect, test } from 'vitest';
import { createTurns } from '../../../handlers/aws-lambda/turns.ts';
import { HandlerError } from '../../../protocol/errors.ts';

const overload = new HandlerError('OVERLOADED', 'Expected room, got none.');
const never = new AbortController().signal;

describe('turns', () => {
  test('work that finds no room is tried again when other work ends, even with a failure', async () => {
    const { take } = createTurns();
    let isFree = false;
    const first = take(async () => {
      await new Promise(setImmediate);
      isFree = true;
      throw new Error('other');
    }, never);
    let attemptCount = 0;
    const second = take(async () => {
      attemptCount += 1;
      if (!isFree) throw overload;
      return 'answer';
    }, never);
    await expect(first).rejects.toThrow('other');
    expect([await second, attemptCount]).toEqual(['answer', 2]);
  });

  test('work that never finds room fails, instead of waiting for ever', async () => {
    const { take } = createTurns();
    const refused = Array.from({ length: 5 }, () => take(() => Promise.reject(overload), never));
    expect(await Promise.allSettled(refused)).toEqual(refused.map(() => ({ status: 'rejected', reason: overload })));
  });

  test('work is not tried again when its time is over', async () => {
    const { take } = createTurns();
    const late = new AbortController();
    const first = take(async () => {
      await new Promise(setImmediate);
      late.abort(new Error('late'));
    }, late.signal);
    let attemptCount = 0;
    const second = take(async () => {
      attemptCount += 1;
      throw overload;
    }, late.signal);
    await first;
    await expect(second).rejects.toThrow('late');
    expect(attemptCount).toBe(1);
  });
});
