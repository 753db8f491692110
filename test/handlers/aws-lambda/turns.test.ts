import { describe, expect, test } from 'vitest';
import { createTurns } from '../../../handlers/aws-lambda/turns.ts';
import { HandlerError } from '../../../protocol/errors.ts';

const overload = new HandlerError('OVERLOADED', 'Expected room, got none.');
const never = new AbortController().signal;

describe('turns', () => {
  test('whoever finds no room is asked again when another is done, also by failing', async () => {
    const { take } = createTurns();
    let isFree = false;
    const first = take(async () => {
      await new Promise(setImmediate);
      isFree = true;
      throw new Error('other');
    }, never);
    let asked = 0;
    const second = take(async () => {
      asked += 1;
      if (!isFree) throw overload;
      return 'answer';
    }, never);
    await expect(first).rejects.toThrow('other');
    expect([await second, asked]).toEqual(['answer', 2]);
  });

  test('where nobody gets in, nobody waits for ever', async () => {
    const { take } = createTurns();
    const refused = Array.from({ length: 5 }, () => take(() => Promise.reject(overload), never));
    expect(await Promise.allSettled(refused)).toEqual(refused.map(() => ({ status: 'rejected', reason: overload })));
  });

  test('when time is over, nobody is asked again', async () => {
    const { take } = createTurns();
    const late = new AbortController();
    const first = take(async () => {
      await new Promise(setImmediate);
      late.abort(new Error('late'));
    }, late.signal);
    let asked = 0;
    const second = take(async () => {
      asked += 1;
      throw overload;
    }, late.signal);
    await first;
    await expect(second).rejects.toThrow('late');
    expect(asked).toBe(1);
  });
});
