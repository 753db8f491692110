import { expect, test } from 'vitest';
import { requestTimeoutMs, shortest, withDeadline } from '../../../handlers/service/deadline.ts';
import { thrownBy } from '../../support/thrown.ts';

const never = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test('aborts for its own reason, or for that of the signal, whichever is first', async () => {
  const { signal } = new AbortController();
  await expect(withDeadline(5, signal, never)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  const gone = new AbortController();
  const waiting = withDeadline(60_000, gone.signal, never);
  const reason = new Error('gone');
  gone.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  expect(await withDeadline(undefined, signal, async () => 1)).toBe(1);
  expect(await withDeadline(1e12, signal, async () => 2)).toBe(2);
});

test.each([undefined, 60_000])(
  'of %s ms: its signal is over with the work, so that nothing keeps it',
  async (timeoutMs) => {
    const signals: AbortSignal[] = [];
    const { signal } = new AbortController();
    await withDeadline(timeoutMs, signal, async (deadline) => signals.push(deadline));
    const failing = withDeadline(timeoutMs, signal, async (deadline) => {
      signals.push(deadline);
      throw new Error('failed');
    });
    await expect(failing).rejects.toThrow('failed');
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect(signal.aborted).toBe(false);
  },
);

test('in microseconds', () => {
  expect([undefined, 0, 1_500].map(requestTimeoutMs)).toEqual([undefined, undefined, 1.5]);
  expect(thrownBy(() => requestTimeoutMs('5'))).toMatchObject({ code: 'INVALID_PARAMETER' });
  expect([shortest(1, 2), shortest(undefined, 2), shortest(1, undefined), shortest(undefined, undefined)]).toEqual([
    1,
    2,
    1,
    undefined,
  ]);
});
