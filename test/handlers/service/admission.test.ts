import { expect, test } from 'vitest';
import { createAdmission } from '../../../handlers/service/admission.ts';
import { thrownBy } from '../../support/thrown.ts';

/** One running request of each token at a time. */
const start = () => createAdmission({ apiTokens: [], maxRequestsPerToken: 1 });

const overloaded = expect.objectContaining({ code: 'OVERLOADED' });

test('a request counts until its work settles, whether it succeeds or fails', async () => {
  const { admit } = start();
  const failure = new Error('failed');
  for (const work of [async () => 1, () => Promise.reject(failure)]) {
    const request = admit('one');
    expect(thrownBy(() => admit('one'))).toEqual(overloaded);
    await request.handle(work).catch((error: unknown) => expect(error).toBe(failure));
    admit('one').leaveUnlessHandled();
  }
});

test('requests of another token, and those without one, count apart', () => {
  const { admit } = start();
  for (const token of ['one', 'two', undefined]) {
    expect(admit(token).token).toBe(token);
    expect(thrownBy(() => admit(token))).toEqual(overloaded);
  }
});

test('a request that is kept counts after its work, until it is given up; once, however often that happens', async () => {
  const { admit } = createAdmission({ apiTokens: [], maxRequestsPerToken: 2 });
  const request = admit('one');
  const leave = await request.handle(async () => request.keep());
  const other = admit('one');
  expect(thrownBy(() => admit('one'))).toEqual(overloaded);
  leave();
  leave();
  admit('one');
  expect(thrownBy(() => admit('one'))).toEqual(overloaded);
  other.leaveUnlessHandled();
  admit('one');
});

test('a request that is handled leaves with its work, not before', async () => {
  const { admit } = start();
  const request = admit('one');
  await request.handle(async () => {
    request.leaveUnlessHandled();
    expect(thrownBy(() => admit('one'))).toEqual(overloaded);
  });
  admit('one');
});

test('any number of requests may run where the settings have no limit', () => {
  const { admit } = createAdmission({ apiTokens: [], maxRequestsPerToken: undefined });
  expect(Array.from({ length: 1000 }, () => admit(undefined))).toHaveLength(1000);
});
