import { expect, test, vi } from 'vitest';
import { StatusWatch } from '../../../handlers/grpc/status-watch.ts';

test('watchers share one timer and are notified of changes; without watchers there is no timer', async () => {
  vi.useFakeTimers();
  const stopping = new AbortController();
  const state = { isReady: false };
  const look = vi.fn(() => ({ ...state }));
  const watch = new StatusWatch(look, 100, stopping.signal);
  expect(watch.current()).toEqual({ isReady: false });
  const leaving = new AbortController();
  const watchers = [leaving.signal, ...Array.from({ length: 20 }, () => new AbortController().signal)].map((signal) =>
    watch.changed(signal),
  );
  const woken = vi.fn();
  for (const watcher of watchers) void watcher.then(woken);

  await vi.advanceTimersByTimeAsync(300);
  expect(look).toHaveBeenCalledTimes(4);
  leaving.abort();
  await vi.advanceTimersByTimeAsync(0);
  expect(woken).toHaveBeenCalledTimes(1);
  state.isReady = true;
  await vi.advanceTimersByTimeAsync(100);
  expect(woken).toHaveBeenCalledTimes(21);
  await vi.advanceTimersByTimeAsync(1000);
  expect(look).toHaveBeenCalledTimes(5);

  const last = watch.changed(new AbortController().signal);
  stopping.abort();
  await last;
  await watch.changed(new AbortController().signal);
  await watch.changed(leaving.signal);
  expect(vi.getTimerCount()).toBe(0);
});
