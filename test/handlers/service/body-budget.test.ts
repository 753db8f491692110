import { describe, expect, test } from 'vitest';
import { createAdmission } from '../../../handlers/service/admission.ts';
import { BodyBudget } from '../../../handlers/service/body-budget.ts';

const overloaded = expect.objectContaining({ code: 'OVERLOADED' });

describe('a budget', () => {
  test('refuses bytes beyond it, and has room again when a request leaves', () => {
    const budget = new BodyBudget(100);
    const [one, other] = [budget.open('a'), budget.open('b')];
    one.hold(60);
    other.hold(40);
    expect(() => other.hold(1)).toThrowError(overloaded);
    expect(() => budget.open('c').hold(1)).toThrowError(overloaded);
    one.release();
    other.hold(60);
    expect(() => other.hold(1)).toThrowError(overloaded);
  });

  test('counts a request once, however often it is released, and nothing that comes afterwards', () => {
    const budget = new BodyBudget(100);
    const body = budget.open('a');
    body.hold(50);
    body.release();
    body.release();
    body.hold(1_000);
    budget.open('a').hold(100);
    expect(() => budget.open('a').hold(1)).toThrowError(overloaded);
  });

  test('leaves room for other clients', () => {
    const budget = new BodyBudget(100, 50);
    const bodies = [budget.open('a'), budget.open('a')];
    for (const body of bodies) body.hold(25);
    expect(() => budget.open('a').hold(1)).toThrowError(overloaded);
    budget.open('b').hold(50);
    for (const body of bodies) body.release();
    budget.open('a').hold(50);
  });
});

describe('admission', () => {
  test('gives each of several tokens half, and a token alone all', () => {
    const two = createAdmission({ apiTokens: ['one', 'two'], maxRequestsPerToken: undefined, maxHeldBodyBytes: 100 });
    expect(() => two.admit('one').body.hold(51)).toThrowError(overloaded);
    two.admit('one').body.hold(50);
    two.admit('two').body.hold(50);
    const one = createAdmission({ apiTokens: ['one'], maxRequestsPerToken: undefined, maxHeldBodyBytes: 100 });
    one.admit('one').body.hold(100);
  });

  test('frees the bytes of a request when it is handled, unless its work outlives its answer', async () => {
    const { admit } = createAdmission({ apiTokens: [], maxRequestsPerToken: undefined, maxHeldBodyBytes: 100 });
    const handled = admit(undefined);
    handled.body.hold(100);
    await handled.handle(async () => undefined);
    const job = admit(undefined);
    job.body.hold(100);
    let leave = () => {};
    await job.handle(async () => {
      leave = job.keep();
    });
    expect(() => admit(undefined).body.hold(1)).toThrowError(overloaded);
    leave();
    admit(undefined).body.hold(100);
  });
});
