import { getEventListeners } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import type {
  GenerationBatch,
  GenerationResult,
  GenerationRow,
  SharedSettings,
} from '../../../pipeline/sessions/generation-batch.ts';
import type { Sequence } from '../../../pipeline/sessions/row-batch.ts';
import { Batcher, type BatcherOptions, type RowGroup } from '../../../pipeline/workers/batcher.ts';
import { greedySettings } from '../../support/greedy-settings.ts';

/** A group of `rowCount` rows; `tag` comes back as the token of its answers. */
function group(
  tag: number,
  rowCount = 1,
  changed: Partial<SharedSettings> = {},
): RowGroup<GenerationRow, SharedSettings> {
  const row = { inputIds: [tag], maxNewTokens: 20, minNewTokens: 0, seed: 0 };
  return {
    image: { width: 1, height: 1, data: new Uint8Array(3) },
    rows: Array.from({ length: rowCount }, () => row),
    settings: { ...greedySettings, ...changed },
  };
}

/** A model that answers each row with its own prompt, when it is told to. Batching is about what arrives together. */
function createRunner(workers: number) {
  const batches: GenerationBatch[] = [];
  const finishers: ((failure?: Error) => void)[] = [];
  let idle = workers;
  let announceRoom: () => void = () => undefined;
  const setIdle = (count: number) => {
    idle = count;
    if (idle > 0) announceRoom();
  };
  const run = (batch: GenerationBatch) => {
    idle -= 1;
    batches.push(batch);
    return new Promise<GenerationResult>((resolve, reject) => {
      finishers.push((failure) => {
        const results = batch.rows.map(({ inputIds }) => [
          { tokenIds: inputIds, tokenLogprobs: [0], generatedCount: 0, score: 0 },
        ]);
        if (failure === undefined) resolve({ results, resizeMs: 1, computeMs: 2 });
        else reject(failure);
        setIdle(idle + 1);
      });
    });
  };
  const onRoom = (listener: () => void) => {
    announceRoom = listener;
  };
  const runner = { hasRoom: () => idle > 0, idleCount: () => idle, hasRoomFor: () => idle > 0, onRoom, run };
  return { runner, batches, setIdle, finish: (failure?: Error) => finishers.shift()?.(failure) };
}

function start(workers: number, options: Partial<BatcherOptions> = {}) {
  const { runner, batches, finish, setIdle } = createRunner(workers);
  const batcher = new Batcher<GenerationRow, SharedSettings, readonly Sequence[]>(runner, {
    maxBatchSize: 4,
    batchWindowMs: 0,
    ...options,
  });
  const submit = async (next: RowGroup<GenerationRow, SharedSettings>) =>
    (await batcher.submit(next)).results.map(([sequence]) => sequence?.tokenIds[0]);
  return { batcher, batches, finish, setIdle, submit };
}

const sizes = (batches: readonly GenerationBatch[]) => batches.map(({ rows }) => rows.length);

describe('the batcher', () => {
  test('sends a group at once when a worker is idle and there is no window', () => {
    const { submit, batches } = start(1);
    void submit(group(1));
    expect(sizes(batches)).toEqual([1]);
  });

  test('collects groups while the worker is busy, and gives each its own answers', async () => {
    const { submit, batches, finish } = start(1);
    const answers = [1, 2, 3].map((tag) => submit(group(tag, tag)));
    finish();
    await answers[0];
    finish();
    finish();
    expect(await Promise.all(answers.slice(0, 1))).toEqual([[1]]);
    expect(sizes(batches)).toEqual([1, 2, 3]);
  });

  test('joins groups up to the maximum, and numbers their images', async () => {
    const { submit, batches, finish } = start(1);
    const answers = [1, 2, 3, 4, 5, 6].map((tag) => submit(group(tag)));
    for (const _ of answers) {
      finish();
      await Promise.resolve();
      await new Promise(setImmediate);
    }
    expect(await Promise.all(answers)).toEqual([[1], [2], [3], [4], [5], [6]]);
    expect(sizes(batches)).toEqual([1, 4, 1]);
    expect(batches[1]?.rows.map(({ image }) => image)).toEqual([0, 1, 2, 3]);
  });

  test('keeps groups with different settings apart', async () => {
    const { submit, batches, finish } = start(1);
    void submit(group(1));
    for (const numBeams of [1, 3, 1, 3]) void submit(group(numBeams, 1, { num_beams: numBeams }));
    for (let turn = 0; turn < 3; turn += 1) {
      finish();
      await new Promise(setImmediate);
    }
    expect(batches.map(({ rows, settings: { num_beams: numBeams } }) => [numBeams, rows.length])).toEqual([
      [1, 1],
      [1, 2],
      [3, 2],
    ]);
  });

  test('sends a group that is larger than a batch alone', async () => {
    const { submit, batches, finish } = start(1);
    const answers = [submit(group(1, 9)), submit(group(2))];
    finish();
    await answers[0];
    finish();
    expect(await Promise.all(answers)).toEqual([Array.from({ length: 9 }, () => 1), [2]]);
    expect(sizes(batches)).toEqual([9, 1]);
  });

  test('lets clients take turns by work, so that one with many groups does not keep another waiting', async () => {
    const { submit, batches, finish } = start(1, { maxBatchSize: 1 });
    for (let tag = 0; tag < 250; tag += 1) void submit({ ...group(tag), client: 'flood', work: 10 });
    void submit({ ...group(1_000), client: 'other', work: 500 });
    for (let turn = 0; turn < 3; turn += 1) {
      finish();
      await new Promise(setImmediate);
    }
    expect(batches.map(({ rows }) => rows[0]?.inputIds[0]).slice(0, 4)).toContain(1_000);
  });

  test('gives clients that wait a part of each batch, whose groups have equal settings', async () => {
    const { submit, batches, finish } = start(1);
    for (let tag = 0; tag < 20; tag += 1) void submit({ ...group(tag), client: 'flood' });
    for (const tag of [100, 101]) void submit({ ...group(tag), client: 'other' });
    finish();
    await new Promise(setImmediate);
    expect(batches[1]?.rows.map(({ inputIds }) => inputIds[0]).sort()).toEqual([1, 100, 101, 2].sort());
  });

  test('waits for the window, and not longer once a batch is full', async () => {
    const { submit, batches } = start(2, { batchWindowMs: 60_000 });
    for (const tag of [1, 2, 3]) void submit(group(tag));
    await new Promise(setImmediate);
    expect(batches).toEqual([]);
    void submit(group(4));
    expect(sizes(batches)).toEqual([2, 2]);
  });

  test.each([
    { workers: 2, rows: [1, 1, 1, 1, 1, 1, 1], expected: [4, 3] },
    { workers: 3, rows: [1, 1, 1, 1, 1, 1, 1, 1], expected: [3, 3, 2] },
    { workers: 4, rows: [1, 1, 1], expected: [1, 1, 1] },
    { workers: 2, rows: [6, 1, 1], expected: [6, 2] },
    { workers: 1, rows: [1, 1, 1], expected: [3] },
  ])('shares rows $rows among $workers idle workers', async ({ workers, rows, expected }) => {
    const { submit, batches, finish } = start(workers, { batchWindowMs: 20, maxBatchSize: 8 });
    const answers = rows.map((count, tag) => submit(group(tag, count)));
    await expect.poll(() => sizes(batches)).toEqual(expected);
    for (const _ of expected) finish();
    expect(await Promise.all(answers)).toEqual(rows.map((count, tag) => Array.from({ length: count }, () => tag)));
  });

  test('sends all shares of a batch at once, and lets the next group wait for its window', async () => {
    const { submit, batches, finish, setIdle } = start(0, { batchWindowMs: 60_000, maxBatchSize: 4 });
    for (const tag of [1, 2, 3, 4]) void submit(group(tag));
    setIdle(2);
    expect(sizes(batches)).toEqual([2, 2]);
    finish();
    void submit(group(5));
    await new Promise(setImmediate);
    expect(sizes(batches)).toEqual([2, 2]);
  });

  test('ends no window because groups of other settings wait, nor lets one that is full wait for it', () => {
    const { submit, batches, setIdle } = start(2, { batchWindowMs: 60_000 });
    const beams = { num_beams: 3 };
    for (const next of [group(1), group(2, 1, beams)]) void submit(next);
    expect(batches).toEqual([]);
    void submit(group(3, 3, beams));
    expect(batches.map(({ rows, settings }) => [settings.num_beams, rows.length])).toEqual([
      [3, 1],
      [3, 3],
    ]);
    setIdle(1);
    void submit(group(4, 3));
    expect(sizes(batches)).toEqual([1, 3, 4]);
  });

  test('sends what there is when the window ends', async () => {
    const { submit, batches } = start(1, { batchWindowMs: 20 });
    void submit(group(1));
    void submit(group(2));
    await expect.poll(() => sizes(batches)).toEqual([2]);
  });

  test('uses all idle workers', () => {
    const { submit, batches } = start(2);
    for (const tag of [1, 2, 3]) void submit(group(tag));
    expect(sizes(batches)).toEqual([1, 1]);
  });

  test('sends what waited when a worker comes anew, after none was left', async () => {
    const { submit, batches, finish, setIdle } = start(0);
    const answer = submit(group(7));
    await new Promise(setImmediate);
    expect(batches).toEqual([]);
    setIdle(1);
    finish();
    expect(await answer).toEqual([7]);
  });

  test('passes a failure to every group of the batch, and goes on', async () => {
    const { submit, finish } = start(1);
    const first = submit(group(1));
    const [second, third] = [submit(group(2)), submit(group(3))];
    finish();
    await first;
    await new Promise(setImmediate);
    finish(new Error('broken'));
    await expect(second).rejects.toThrow('broken');
    await expect(third).rejects.toThrow('broken');
    const fourth = submit(group(4));
    await new Promise(setImmediate);
    finish();
    expect(await fourth).toEqual([4]);
  });
});

describe('images of a request that are on their way', () => {
  const settled = () => new Promise(setImmediate);
  /** Long enough for a busy machine, shorter than any wait for an image that is decoded. */
  const MOMENT_MS = 300;
  const moment = () => new Promise((resolve) => setTimeout(resolve, MOMENT_MS));

  test('share one batch with those that are there, when they are decoded', async () => {
    const { batcher, submit, batches } = start(1, { maxBatchSize: 8 });
    const arrivals = batcher.expect();
    const expected = Array.from({ length: 8 }, () => arrivals.add());
    for (const arrival of expected) arrival.enter('near');
    for (const [tag, arrival] of expected.entries()) {
      expect(batches).toEqual([]);
      await settled();
      void submit({ ...group(tag), arrivals });
      arrival.end();
    }
    expect(sizes(batches)).toEqual([8]);
  });

  test('go into as few batches as their size allows', async () => {
    const { batcher, submit, batches, finish } = start(1, { maxBatchSize: 3 });
    const arrivals = batcher.expect();
    const expected = Array.from({ length: 8 }, () => arrivals.add());
    for (const arrival of expected) arrival.enter('near');
    for (const [tag, arrival] of expected.entries()) {
      void submit({ ...group(tag), arrivals });
      arrival.end();
      await settled();
      finish();
      await settled();
    }
    finish();
    expect(sizes(batches)).toEqual([3, 3, 2]);
  });

  test('are not waited for once they have failed', async () => {
    const { batcher, submit, batches } = start(1);
    const arrivals = batcher.expect();
    const [first, second] = [arrivals.add(), arrivals.add()];
    for (const arrival of [first, second]) arrival.enter('near');
    void submit({ ...group(1), arrivals });
    first.end();
    await settled();
    expect(batches).toEqual([]);
    second.end();
    await settled();
    expect(sizes(batches)).toEqual([1]);
  });

  test('that wait for memory, which the others hold, are not waited for; those that find it at once are', async () => {
    const { batcher, submit, batches } = start(1);
    const arrivals = batcher.expect();
    const [first, second] = [arrivals.add(), arrivals.add()];
    second.enter('near');
    void submit({ ...group(1), arrivals });
    first.end();
    second.enter('held-up');
    second.enter('near');
    await settled();
    expect(batches).toEqual([]);
    second.enter('held-up');
    await settled();
    expect(sizes(batches)).toEqual([1]);
  });

  test('are waited for no longer than a second while they are decoded, and a quarter while they are fetched', async () => {
    for (const [step, limitMs] of [
      ['near', 1_000],
      ['away', 250],
    ] as const) {
      const { batcher, submit, batches } = start(1);
      const arrivals = batcher.expect();
      const [first, second] = [arrivals.add(), arrivals.add()];
      second.enter(step);
      const startMs = performance.now();
      void submit({ ...group(1), arrivals });
      first.end();
      await expect.poll(() => sizes(batches), { timeout: 10_000, interval: 5 }).toEqual([1]);
      expect(performance.now() - startMs).toBeGreaterThanOrEqual(limitMs - 1);
    }
  });

  test('that are fetched are waited for no longer than a run takes', async () => {
    const { batcher, submit, batches, finish } = start(1);
    const quick = submit(group(0));
    finish();
    await quick;
    const arrivals = batcher.expect();
    const [first] = [arrivals.add(), arrivals.add()];
    const startMs = performance.now();
    void submit({ ...group(1), arrivals });
    first.end();
    await expect.poll(() => sizes(batches), { timeout: 10_000, interval: 1 }).toEqual([1, 1]);
    expect(performance.now() - startMs).toBeLessThan(200);
  });

  test('keep no other request waiting, of this client or another, and its groups take theirs along', async () => {
    for (const other of [{ client: 'other' }, { client: 'slow' }]) {
      const { batcher, submit, batches } = start(1);
      const arrivals = batcher.expect();
      const [first, second] = [arrivals.add(), arrivals.add()];
      second.enter('near');
      void submit({ ...group(1), client: 'slow', arrivals });
      first.end();
      await settled();
      expect(batches).toEqual([]);
      void submit({ ...group(2), ...other });
      expect(batches.map(({ rows }) => rows.map(({ inputIds }) => inputIds[0]))).toEqual([[1, 2]]);
    }
  });

  test('are asked once for all groups of their request: it may have hundreds of both', () => {
    const { batcher, submit } = start(1, { maxBatchSize: 1_000 });
    const arrivals = batcher.expect();
    arrivals.add().enter('near');
    const asked = vi.spyOn(arrivals, 'limitMs');
    for (let tag = 0; tag < 200; tag += 1) void submit({ ...group(tag), arrivals });
    expect(asked).toHaveBeenCalledTimes(200);
  });

  test('that are announced and never come keep nobody else waiting, however many they are', async () => {
    const { batcher, submit, batches, finish } = start(1, { maxBatchSize: 2 });
    for (let request = 0; request < 50; request += 1) {
      const arrivals = batcher.expect();
      for (let image = 0; image < 20; image += 1) arrivals.add().enter(image % 2 === 0 ? 'near' : 'away');
      if (request > 0) void submit({ ...group(request, 1, { top_k: request }), client: 'attacker', arrivals });
    }
    expect(batches).toEqual([]);
    void submit({ ...group(1_000), client: 'other' });
    expect(batches.map(({ rows }) => rows.map(({ inputIds }) => inputIds[0]))).toEqual([[1_000]]);
    finish();
    await settled();
    void submit({ ...group(1_001), client: 'other' });
    expect(sizes(batches)).toEqual([1, 1]);
  });

  test('leave no timer behind and keep no other group, when their request is dropped', async () => {
    const { batcher, submit, batches } = start(1);
    const arrivals = batcher.expect();
    const arrival = arrivals.add();
    arrival.enter('near');
    const dropped = new AbortController();
    const waiting = submit({ ...group(1), arrivals, signal: dropped.signal });
    dropped.abort(new Error('dropped'));
    arrival.end();
    await expect(waiting).rejects.toThrow('dropped');
    await settled();
    void submit(group(2));
    expect(batches.map(({ rows }) => rows.map(({ inputIds }) => inputIds[0]))).toEqual([[2]]);
  });

  test('keep no request with other settings waiting', async () => {
    const { batcher, submit, batches } = start(2);
    const arrivals = batcher.expect();
    const [first, second] = [arrivals.add(), arrivals.add()];
    second.enter('near');
    void submit({ ...group(1), arrivals });
    first.end();
    void submit(group(2, 1, { num_beams: 3 }));
    expect(batches.map(({ settings }) => settings.num_beams)).toEqual([3]);
    await moment();
    expect(sizes(batches)).toEqual([1]);
    void submit({ ...group(3), arrivals });
    second.end();
    await expect.poll(() => sizes(batches)).toEqual([1, 2]);
  });
});

describe('groups whose requests are dropped', () => {
  const reason = new Error('dropped');

  test('leave while they wait, and their places are free', async () => {
    const { submit, batches, finish } = start(1);
    const dropped = new AbortController();
    const running = submit(group(1));
    const waiting = submit({ ...group(2), signal: dropped.signal });
    const other = submit(group(3));
    dropped.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    finish();
    await running;
    finish();
    expect(await other).toEqual([3]);
    expect(batches.flatMap(({ rows }) => rows.map(({ inputIds }) => inputIds[0]))).toEqual([1, 3]);
  });

  test('get their answers when they are in a batch already: it cannot be stopped', async () => {
    const { submit, finish } = start(1);
    const dropped = new AbortController();
    const running = submit({ ...group(1), signal: dropped.signal });
    dropped.abort(reason);
    finish();
    expect(await running).toEqual([1]);
  });

  test('are not kept by their signals once they are in a batch, or have left', async () => {
    const { submit } = start(1);
    const [running, waiting] = [new AbortController(), new AbortController()];
    void submit({ ...group(1), signal: running.signal });
    const left = submit({ ...group(2), signal: waiting.signal });
    expect(getEventListeners(waiting.signal, 'abort')).toHaveLength(1);
    waiting.abort(reason);
    await expect(left).rejects.toBe(reason);
    for (const { signal } of [running, waiting]) expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('are not taken when they are dropped before', async () => {
    const { submit, batches } = start(1);
    await expect(submit({ ...group(1), signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(batches).toEqual([]);
  });
});
