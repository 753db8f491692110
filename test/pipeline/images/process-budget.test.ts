import { describe, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import { ProcessBudget } from '../../../pipeline/images/process-budget.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { testSettings } from '../../support/server.ts';
import { thrownBy } from '../../support/thrown.ts';

describe('the budget of a process', () => {
  test('is one for all that join with the same bound', () => {
    const budget = new ProcessBudget();
    expect(budget.join(100).budget).toBe(budget.join(100).budget);
  });

  test('refuses another bound, and names both', () => {
    const budget = new ProcessBudget();
    budget.join(100);
    expect(thrownBy(() => budget.join(200))).toMatchObject({
      code: 'SETTINGS_INVALID',
      message: expect.stringMatching(/BLIP_MAX_DECODED_BYTES to be 100,.* got 200\.$/),
    });
    expect(() => budget.join(100)).not.toThrow();
  });

  test('may have another bound when all have left, each once', () => {
    const budget = new ProcessBudget();
    const [first, second] = [budget.join(100), budget.join(100)];
    first.leave();
    first.leave();
    expect(() => budget.join(200)).toThrow();
    second.leave();
    const { budget: other } = budget.join(200);
    expect(other).not.toBe(first.budget);
    first.leave(); // It belongs to none any more.
    expect(() => budget.join(100)).toThrow();
  });
});

describe('two models in one process', () => {
  const create = (maxDecodedBytes: number, checkpoint = checkpointFolder('narrow-vision')) =>
    new Handler(testSettings({ checkpoint, maxDecodedBytes }));

  test('have one bound for decoded images until all are finalized', async () => {
    const [first, second, other] = [create(1_000_000), create(1_000_000), create(2_000_000)];
    await Promise.all([first.initialize(), second.initialize()]);
    const refused = { code: 'SETTINGS_INVALID', message: expect.stringMatching(/1000000,.* got 2000000/) };
    await expect(other.initialize()).rejects.toMatchObject(refused);
    await first.finalize();
    await expect(other.initialize()).rejects.toMatchObject(refused);
    await second.finalize();
    await other.initialize();
    await other.finalize();
  });

  test('one that does not start holds no bound', async () => {
    await expect(create(1_000_000, '/nowhere').initialize()).rejects.toMatchObject({ code: 'CHECKPOINT_NOT_FOUND' });
    const other = create(2_000_000);
    await other.initialize();
    await other.finalize();
  });
});
