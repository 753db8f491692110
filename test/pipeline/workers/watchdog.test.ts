import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Watchdog } from '../../../pipeline/workers/watchdog.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function start(limitMs: number) {
  const hung = vi.fn();
  return { hung, watchdog: new Watchdog(limitMs, hung) };
}

describe('the watchdog', () => {
  test('tells of work that has not ended at its limit, once', () => {
    const { watchdog, hung } = start(1_000);
    void watchdog.watch(new Promise(() => undefined));
    vi.advanceTimersByTime(999);
    expect(hung).not.toHaveBeenCalled();
    vi.advanceTimersByTime(60_000);
    expect(hung.mock.calls).toEqual([[1_000]]);
  });

  test('says from half of the limit on that the work is overdue, until it ends', async () => {
    const { watchdog, hung } = start(1_000);
    let end: (value: string) => void = () => undefined;
    const work = watchdog.watch(
      new Promise<string>((resolve) => {
        end = resolve;
      }),
    );
    vi.advanceTimersByTime(499);
    expect(watchdog.isOverdue()).toBe(false);
    vi.advanceTimersByTime(1);
    expect(watchdog.isOverdue()).toBe(true);
    end('done');
    expect(await work).toBe('done');
    expect(watchdog.isOverdue()).toBe(false);
    vi.advanceTimersByTime(60_000);
    expect(hung).not.toHaveBeenCalled();
  });

  test('counts each work anew, and stops for one that fails', async () => {
    const { watchdog, hung } = start(1_000);
    for (let turn = 0; turn < 5; turn += 1) {
      const work = watchdog.watch(new Promise((_, reject) => void setTimeout(reject, 900, new Error('broken'))));
      const failing = expect(work).rejects.toThrow('broken');
      await vi.advanceTimersByTimeAsync(900);
      await failing;
    }
    expect(hung).not.toHaveBeenCalled();
  });

  test('does not count the time that the whole process was stopped', () => {
    const { watchdog, hung } = start(1_000);
    void watchdog.watch(new Promise(() => undefined));
    vi.advanceTimersByTime(100);
    vi.setSystemTime(Date.now() + 3_600_000); // A clock that jumps.
    expect(hung).not.toHaveBeenCalled();
    expect(watchdog.isOverdue()).toBe(false);
  });
});
