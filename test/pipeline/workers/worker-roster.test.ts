import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { WorkerRoster } from '../../../pipeline/workers/worker-roster.ts';
import type { InferenceWorker } from '../../../pipeline/workers/worker-thread.ts';

/** A worker that is never asked anything: the roster only hands it around. */
function idleWorker(): InferenceWorker {
  return {
    loadMs: 0,
    executionProvider: { executionProvider: 'cpu', precision: 'float32', reason: '' },
    ended: new Promise(() => undefined),
    gone: new Promise(() => undefined),
    isOverdue: () => false,
    run: () => Promise.reject(new Error('Expected no batch.')),
    pack: async () => 0,
    close: async () => undefined,
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('the roster of workers', () => {
  test('gives a certain worker to whom it is promised, before any new batch', async () => {
    const roster = new WorkerRoster(1_000);
    const worker = idleWorker();
    const { signal } = new AbortController();
    roster.join(worker);
    roster.take();
    const taking = roster.takeOnceIdle(worker, signal);
    roster.giveBack(worker);
    expect(await taking).toBe(true);
    expect(roster.hasRoom()).toBe(false);
    roster.giveBack(worker);
    expect(await roster.takeOnceIdle(worker, signal)).toBe(true);
  });

  test('promises no worker that left, or to someone who gave up', async () => {
    const roster = new WorkerRoster(1_000);
    const [leaving, staying] = [idleWorker(), idleWorker()];
    const stopping = new AbortController();
    for (const worker of [leaving, staying]) roster.join(worker);
    roster.take();
    roster.take();
    const both = [leaving, staying].map((worker) => roster.takeOnceIdle(worker, stopping.signal));
    roster.leave(leaving);
    stopping.abort();
    expect(await Promise.all(both)).toEqual([false, false]);
    expect(await roster.takeOnceIdle(leaving, new AbortController().signal)).toBe(false);
    roster.giveBack(staying);
    expect(roster.hasRoom()).toBe(true);
  });

  test('gives out each idle worker once', () => {
    const roster = new WorkerRoster(1_000);
    const [first, second] = [idleWorker(), idleWorker()];
    roster.join(first);
    roster.join(second);
    expect(new Set([roster.take(), roster.take()])).toEqual(new Set([first, second]));
    expect(roster.hasRoom()).toBe(false);
    expect(() => roster.take()).toThrow('Expected an idle worker, got none.');
    expect(roster.liveCount()).toBe(2);
  });

  test('gives a worker to whoever waits for the next before it tells of room', async () => {
    const roster = new WorkerRoster(1_000);
    const worker = idleWorker();
    roster.join(worker);
    roster.take();
    const listener = vi.fn();
    roster.onRoom(listener);
    const next = roster.takeNext();
    roster.giveBack(worker);
    expect(await next).toBe(worker);
    expect(listener).not.toHaveBeenCalled();
  });

  test('tells listeners of room in turns, so that none takes every worker from the others', () => {
    const roster = new WorkerRoster(1_000);
    const worker = idleWorker();
    roster.join(worker);
    roster.take();
    const takers: string[] = [];
    const takeAll = (name: string) => () => {
      if (!roster.hasRoom()) return;
      takers.push(name);
      roster.take();
    };
    roster.onRoom(takeAll('generation'));
    roster.onRoom(takeAll('ranking'));
    for (let turn = 0; turn < 4; turn += 1) roster.giveBack(worker);
    expect(takers).toEqual(['ranking', 'generation', 'ranking', 'generation']);
  });

  test('refuses batches once no worker has lived for the limit, and serves again when one does', async () => {
    const roster = new WorkerRoster(1_000);
    const worker = idleWorker();
    roster.join(worker);
    roster.leave(worker);
    const waiting = roster.takeNext();
    vi.advanceTimersByTime(999);
    expect(roster.hasRoom()).toBe(false);
    const refused = expect(waiting).rejects.toMatchObject({ code: 'NOT_READY' });
    vi.advanceTimersByTime(1);
    await refused;
    expect(roster.hasRoom()).toBe(true);
    expect(() => roster.requireServing()).toThrow('Expected a worker thread to be alive');
    expect(() => roster.take()).toThrow('Expected a worker thread to be alive');
    roster.join(idleWorker());
    expect(() => roster.requireServing()).not.toThrow();
  });

  test('has no outage after it is closed', () => {
    const roster = new WorkerRoster(1_000);
    const worker = idleWorker();
    roster.join(worker);
    roster.close();
    roster.leave(worker);
    vi.advanceTimersByTime(2_000);
    expect(() => roster.requireServing()).not.toThrow();
  });
});
