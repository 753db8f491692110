import { expect, test } from 'vitest';
import { FairSlots } from '../../../../pipeline/images/decoders/fair-slots.ts';

/** Slots for work that cannot be stopped. Each work below runs until it is told to end. */

function workOf(slots: FairSlots) {
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const start = (name: string, client?: string, signal?: AbortSignal) =>
    slots.run({ client, signal, cost: 1 }, async () => {
      started.push(name);
      await new Promise<void>((resolve) => ends.set(name, resolve));
      return name;
    });
  const end = async (name: string) => {
    ends.get(name)?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return { started, start, end, settle };
}

test('one client never has all slots, so that the work of another begins at once', async () => {
  const { started, start, settle } = workOf(new FairSlots(3));
  for (const name of ['a1', 'a2', 'a3', 'a4']) void start(name, 'a');
  await settle();
  expect(started).toEqual(['a1', 'a2']);
  void start('b1', 'b');
  await settle();
  expect(started).toEqual(['a1', 'a2', 'b1']);
});

test('a client without a name may have all, and a single slot is for everyone', async () => {
  const all = workOf(new FairSlots(3));
  for (const name of ['1', '2', '3', '4']) void all.start(name);
  await all.settle();
  expect(all.started).toEqual(['1', '2', '3']);
  const single = workOf(new FairSlots(1));
  void single.start('a1', 'a');
  await single.settle();
  expect(single.started).toEqual(['a1']);
});

test('clients take turns', async () => {
  const { started, start, end, settle } = workOf(new FairSlots(2));
  for (const name of ['a1', 'a2', 'a3']) void start(name, 'a');
  for (const name of ['b1', 'b2']) void start(name, 'b');
  void start('c1', 'c');
  await settle();
  expect(started).toEqual(['a1', 'b1']);
  await end('a1');
  expect(started).toEqual(['a1', 'b1', 'c1']);
  await end('b1');
  await end('c1');
  expect(new Set(started.slice(3))).toEqual(new Set(['a2', 'b2']));
});

test('work whose request is dropped while it waits never begins, and leaves its place', async () => {
  const { started, start, end, settle } = workOf(new FairSlots(1));
  const dropped = new AbortController();
  const reason = new Error('dropped');
  const first = start('1', 'a');
  const second = start('2', 'a', dropped.signal);
  void start('3', 'a');
  await settle();
  dropped.abort(reason);
  await expect(second).rejects.toBe(reason);
  await end('1');
  expect(await first).toBe('1');
  expect(started).toEqual(['1', '3']);
});

test('work that fails gives its slot back', async () => {
  const slots = new FairSlots(1);
  const failing = slots.run({ cost: 1 }, () => Promise.reject(new Error('broken')));
  await expect(failing).rejects.toThrow('broken');
  expect(await slots.run({ cost: 1 }, async () => 'next')).toBe('next');
});
