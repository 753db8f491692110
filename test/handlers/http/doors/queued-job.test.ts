import { describe, expect, test } from 'vitest';
import { JobShelf } from '../../../../handlers/http/doors/runpod/job-shelf.ts';
import { type JobLimits, type JobWork, startJob } from '../../../../handlers/http/doors/runpod/queued-job.ts';
import type { RequestEvents } from '../../../../pipeline/infer-request.ts';
import { HandlerError } from '../../../../protocol/errors.ts';

/** Jobs and their shelf, with work that the test does itself. */

const HOUR_MS = 3_600_000;
const never = new AbortController().signal;

/** Work that is accepted at once and ends as the test says, or with the reason of its signal. */
function handWork() {
  let events: RequestEvents = {};
  let resolve: (output: unknown) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const work: JobWork = (signal, requestEvents) => {
    events = requestEvents;
    requestEvents.accepted?.();
    return new Promise((succeed, fail) => {
      resolve = succeed;
      reject = fail;
      signal.addEventListener('abort', () => fail(signal.reason), { once: true });
    });
  };
  return {
    work,
    take: () => events.computing?.(),
    succeed: (output: unknown) => resolve(output),
    fail: (error: unknown) => reject(error),
  };
}

async function start(limits: Partial<JobLimits> = {}) {
  let now = 0;
  const hand = handWork();
  const job = await startJob(hand.work, { ttlMs: HOUR_MS, executionTimeoutMs: HOUR_MS, ...limits }, () => now);
  const passMs = (ms: number) => {
    now += ms;
  };
  return { ...hand, job, passMs };
}

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('a job', () => {
  test('tells how long it waited, and how long it was computed', async () => {
    const { job, take, succeed, passMs } = await start();
    passMs(20);
    expect(job.isComputing()).toBe(false);
    take();
    passMs(5);
    take();
    expect(job.isComputing()).toBe(true);
    passMs(2);
    succeed('done');
    expect(await job.ended).toEqual({ output: 'done', error: undefined, delayMs: 20, executionMs: 7 });
  });

  test('that fails says why; what is no error of ours stays inside', async () => {
    const { job, fail } = await start();
    fail(new RangeError('secret'));
    const { error } = await job.ended;
    expect(error).toEqual(code('INTERNAL'));
    expect(error?.message).not.toContain('secret');
  });

  test('that is refused is none', async () => {
    const refused = new HandlerError('OVERLOADED', 'Expected room, got none.');
    const work = async () => {
      throw refused;
    };
    await expect(startJob(work, { ttlMs: HOUR_MS, executionTimeoutMs: HOUR_MS })).rejects.toBe(refused);
  });

  test.each([
    ['waits', false],
    ['is computed', true],
  ])('that is cancelled ends, though it %s', async (_, isTaken) => {
    const { job, take } = await start();
    if (isTaken) take();
    job.cancel();
    expect(await job.ended).toMatchObject({ error: code('CANCELLED') });
  });

  test('ends when its time is over: all of it, or that of its computing', async () => {
    const waiting = await start({ ttlMs: 1 });
    expect(await waiting.job.ended).toMatchObject({ error: code('DEADLINE_EXCEEDED') });
    const computed = await start({ executionTimeoutMs: 1 });
    expect(await computed.job.wait(20, never)).toBeUndefined();
    computed.take();
    expect(await computed.job.ended).toMatchObject({ error: code('DEADLINE_EXCEEDED') });
  });

  test('is waited for until its end, the end of the wait, or the end of who waits', async () => {
    const { job, succeed } = await start();
    expect(await job.wait(1, never)).toBeUndefined();
    expect(await job.wait(HOUR_MS, AbortSignal.abort())).toBeUndefined();
    expect(job.isAwaited()).toBe(false);
    const waiting = job.wait(undefined, never);
    expect(job.isAwaited()).toBe(true);
    succeed('done');
    expect(await waiting).toMatchObject({ output: 'done' });
    expect(job.isAwaited()).toBe(false);
  });
});

describe('a shelf', () => {
  const encode = (_: string, { output, error }: { output: unknown; error: HandlerError | undefined }) =>
    Buffer.from(error?.code ?? String(output));
  const startShelf = (maxBytes = 10_000, nowMs = () => 0) => new JobShelf({ maxBytes, encode, nowMs });
  const text = (answer: Uint8Array | undefined) => answer && Buffer.from(answer).toString();

  test('knows a job while it goes on, and what came of it', async () => {
    const shelf = startShelf();
    const { job, succeed } = await start();
    const answer = shelf.add(job, HOUR_MS);
    expect(shelf.find(job.id)).toBe(job);
    expect(shelf.read(job.id)).toBeUndefined();
    succeed('done');
    expect(text(await answer)).toBe('done');
    expect(shelf.find(job.id)).toBeUndefined();
    expect(shelf.isBusy(1)).toBe(true);
    expect(text(shelf.read(job.id))).toBe('done');
    expect(shelf.isBusy(1)).toBe(false);
  });

  test('is busy with an end that nobody knows as long as whoever asks again and again may not have asked', async () => {
    let now = 0;
    const shelf = startShelf(10_000, () => now);
    const { job, succeed } = await start();
    const answer = shelf.add(job, HOUR_MS);
    now = 100;
    expect(shelf.isBusy(5)).toBe(true); // It goes on.
    succeed('done');
    await answer;
    now += 4;
    expect(shelf.isBusy(5)).toBe(true);
    now += 1;
    expect(shelf.isBusy(5)).toBe(false);
    expect(shelf.close()).toEqual([job.id]); // It is named all the same.
  });

  test('tells of an output that it cannot keep; whoever waits has it', async () => {
    const shelf = startShelf(1_100);
    const { job, succeed } = await start();
    const answer = shelf.add(job, HOUR_MS);
    succeed('x'.repeat(100));
    expect(text(await answer)).toMatch(/^x{100}$/);
    expect(text(shelf.read(job.id))).toBe('PAYLOAD_TOO_LARGE');
  });

  test('purges what no worker has taken', async () => {
    const shelf = startShelf();
    const [waiting, taken] = [await start(), await start()];
    for (const { job } of [waiting, taken]) void shelf.add(job, HOUR_MS);
    taken.take();
    expect(await shelf.purge()).toBe(1);
    expect(text(shelf.read(waiting.job.id))).toBe('CANCELLED');
    expect(shelf.counts()).toEqual({ waiting: 0, computing: 1, completed: 0, failed: 0 });
  });

  test('that closes cancels what nobody waits for, and names what nobody knows', async () => {
    const shelf = startShelf();
    const [unread, read, alone, awaited] = [await start(), await start(), await start(), await start()];
    for (const { job } of [unread, read, alone, awaited]) void shelf.add(job, HOUR_MS);
    for (const { succeed, job } of [unread, read]) {
      succeed('done');
      await job.ended;
    }
    shelf.read(read.job.id);
    const waiting = awaited.job.wait(HOUR_MS, never);
    expect(new Set(shelf.close())).toEqual(new Set([unread.job.id, alone.job.id]));
    expect(await alone.job.ended).toMatchObject({ error: code('CANCELLED') });
    awaited.succeed('done');
    expect(await waiting).toMatchObject({ output: 'done' });
  });
});
