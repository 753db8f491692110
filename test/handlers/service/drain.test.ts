import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Drain } from '../../../handlers/service/drain.ts';

/** The end of a server's requests. Times are lower bounds: a busy machine takes longer. */

const QUIET_MS = 250;
/** Timers may be early by a part of a millisecond. */
const TOLERANCE_MS = 2;

async function durationMs(waiting: Promise<void>): Promise<number> {
  const startMs = performance.now();
  await waiting;
  return performance.now() - startMs + TOLERANCE_MS;
}

test('a server without requests is quiet after a while; meanwhile it drains', async () => {
  const drain = new Drain();
  expect(drain.isDraining()).toBe(false);
  const waiting = drain.untilQuiet(60_000);
  expect(drain.isDraining()).toBe(true);
  expect(await durationMs(waiting)).toBeGreaterThanOrEqual(QUIET_MS);
});

test('a request that runs is waited for, and a while after its end', async () => {
  const drain = new Drain();
  const work = drain.count(() => sleep(400, 'done'));
  expect(await durationMs(drain.untilQuiet(60_000))).toBeGreaterThanOrEqual(400 + QUIET_MS);
  expect(await work).toBe('done');
});

test('a request that fails has ended too', async () => {
  const drain = new Drain();
  await expect(drain.count(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
  await drain.untilQuiet(60_000);
});

test('nothing is waited for beyond the limit', async () => {
  const drain = new Drain();
  drain.begin();
  drain.waitWhile(() => true);
  expect(await durationMs(drain.untilQuiet(300))).toBeGreaterThanOrEqual(300);
});

test('clients that come back are waited for, by whoever knows of them, with the limit', async () => {
  const drain = new Drain();
  const limits: number[] = [];
  drain.waitWhile(() => false);
  drain.waitWhile((limitMs) => limits.push(limitMs) < 15);
  await drain.untilQuiet(60_000);
  expect(limits.length).toBeGreaterThanOrEqual(15);
  expect(new Set(limits)).toEqual(new Set([60_000]));
});

test('quiet can be waited for without draining', async () => {
  const drain = new Drain();
  drain.begin();
  setTimeout(() => drain.end(), 100);
  expect(await durationMs(drain.quietFor(300))).toBeGreaterThanOrEqual(400);
  expect(drain.isDraining()).toBe(false);
});
