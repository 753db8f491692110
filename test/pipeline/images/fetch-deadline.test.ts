import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { FetchDeadline } from '../../../pipeline/images/fetch-deadline.ts';

test('the time of a fetch is over when it says', async () => {
  const deadline = new FetchDeadline(150);
  await sleep(50);
  expect(deadline.signal.aborted).toBe(false);
  await expect.poll(() => deadline.signal.aborted).toBe(true);
});

test('it stands still while the fetch waits for memory, and goes on after it', async () => {
  const deadline = new FetchDeadline(150);
  await deadline.during(sleep(400).then(() => undefined));
  expect(deadline.signal.aborted).toBe(false);
  await expect.poll(() => deadline.signal.aborted).toBe(true);
});

test('a fetch that is over has no time to lose', async () => {
  const deadline = new FetchDeadline(50);
  deadline.end();
  await sleep(120);
  expect(deadline.signal.aborted).toBe(false);
});
