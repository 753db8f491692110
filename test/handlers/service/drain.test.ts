import { describe, expect, test } from 'vitest';
import { Drain, type DrainClock } from '../../../handlers/service/drain.ts';

/** The end of a server's requests, in simulated time, which passes only while the drain sleeps. */

const QUIET_MS = 250;
const CHECK_INTERVAL_MS = 25;

/** @param events happen when the drain sleeps past their times, in milliseconds from the start. */
function simulatedClock(events: Readonly<Record<number, () => void>> = {}): DrainClock {
  let nowMs = 0;
  return {
    nowMs: () => nowMs,
    async sleep(durationMs) {
      const wakeMs = nowMs + durationMs;
      for (const [time, happen] of Object.entries(events)) {
        if (Number(time) <= nowMs || Number(time) > wakeMs) continue;
        nowMs = Number(time);
        happen();
      }
      await new Promise(setImmediate); // Code that waits for an event goes on before the drain does.
      nowMs = wakeMs;
    },
  };
}

describe('a drain', () => {
  test('makes a server not ready, and ends after a while without requests', async () => {
    const clock = simulatedClock();
    const drain = new Drain(clock);
    expect(drain.isDraining()).toBe(false);
    const waiting = drain.untilQuiet(60_000);
    expect(drain.isDraining()).toBe(true);
    await waiting;
    expect(clock.nowMs()).toBe(QUIET_MS);
  });

  test('waits for a request that runs, and for a while after its end', async () => {
    let finish: (value: string) => void = () => undefined;
    const work = new Promise<string>((resolve) => {
      finish = resolve;
    });
    const clock = simulatedClock({ 400: () => finish('done') });
    const drain = new Drain(clock);
    const result = drain.count(() => work);
    await drain.untilQuiet(60_000);
    expect(clock.nowMs()).toBe(400 + QUIET_MS);
    expect(await result).toBe('done');
  });

  test('waits for a while after a request that came meanwhile', async () => {
    const clock = simulatedClock({ 240: () => void drain.count(async () => 'done') });
    const drain = new Drain(clock);
    await drain.untilQuiet(60_000);
    expect(clock.nowMs()).toBe(500); // The first check that is at least 250 ms after the request's end.
  });

  test('takes a request that fails as ended', async () => {
    const clock = simulatedClock();
    const drain = new Drain(clock);
    await expect(drain.count(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    await drain.untilQuiet(60_000);
    expect(clock.nowMs()).toBe(QUIET_MS);
  });

  test('waits for nothing beyond the limit', async () => {
    const clock = simulatedClock();
    const drain = new Drain(clock);
    drain.begin();
    drain.waitWhile(() => true);
    await drain.untilQuiet(300);
    expect(clock.nowMs()).toBe(300);
  });

  test('waits while a check says that clients will come back, and tells each check the limit', async () => {
    const clock = simulatedClock();
    const drain = new Drain(clock);
    const limits: number[] = [];
    drain.waitWhile(() => false);
    drain.waitWhile((limitMs) => limits.push(limitMs) < 15);
    await drain.untilQuiet(60_000);
    expect(limits).toEqual(Array.from({ length: 15 }, () => 60_000));
    // The drain asks its checks only once no request has come for a while.
    expect(clock.nowMs()).toBe(QUIET_MS + 14 * CHECK_INTERVAL_MS);
  });
});

test('quiet can be waited for without draining', async () => {
  const clock = simulatedClock({ 100: () => drain.end() });
  const drain = new Drain(clock);
  drain.begin();
  await drain.quietFor(300);
  expect(clock.nowMs()).toBe(400);
  expect(drain.isDraining()).toBe(false);
});

test('a drain without a clock of its own takes the time of the process', async () => {
  const startMs = performance.now();
  await new Drain().quietFor(30);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(30);
});
