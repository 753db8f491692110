import { expect, test } from 'vitest';
import { WaitingBytes } from '../../../pipeline/images/waiting-bytes.ts';
import { expectHandlerError } from '../../support/thrown.ts';

const refusal = async (hold: () => unknown) => await expectHandlerError(Promise.resolve().then(hold), 'OVERLOADED');

test('one client may have all bytes for images that wait, and gets more when it gives some back', async () => {
  const waiting = new WaitingBytes(100);
  const release = waiting.hold(60, 'a');
  waiting.hold(40, 'a');
  const { message } = await refusal(() => waiting.hold(1, 'a'));
  expect(message).toMatch(/at most 100 bytes, got more\. Send fewer in one request, or try again soon\.$/);
  release();
  release();
  waiting.hold(60, 'a');
  await refusal(() => waiting.hold(1, 'a'));
});

test('others may have an equal part, although one has all', async () => {
  const waiting = new WaitingBytes(120);
  waiting.hold(120, 'a');
  const releaseB = waiting.hold(60, 'b');
  await refusal(() => waiting.hold(1, 'b'));
  await refusal(() => waiting.hold(1, 'a'));
  waiting.hold(40, undefined);
  await refusal(() => waiting.hold(1, undefined));
  releaseB();
  waiting.hold(20, undefined);
});
