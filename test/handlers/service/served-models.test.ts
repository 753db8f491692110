import { expect, onTestFinished, test, vi } from 'vitest';
import Handler from '../../../app.ts';
import { findModel, repositoryIndex } from '../../../handlers/service/served-models.ts';
import { testSettings } from '../../support/server.ts';
import { thrownBy } from '../../support/thrown.ts';

test('the index says why a model does not answer', async () => {
  const model = new Handler(testSettings({ modelName: 'one' }));
  onTestFinished(() => model.finalize());
  const reason = () => repositoryIndex([model]).map((entry) => [entry.state, entry.reason]);
  expect(reason()).toEqual([['UNAVAILABLE', 'not loaded']]);
  await model.initialize();
  expect(reason()).toEqual([['READY', '']]);
  if (model.model === undefined) throw new Error('Expected a model.');
  vi.spyOn(model.model, 'isHealthy').mockReturnValue(false);
  expect(reason()).toEqual([['UNAVAILABLE', 'no worker thread makes progress']]);
});

test('a name that no model has is repeated as far as it is short', () => {
  const models = [new Handler(testSettings({ modelName: 'one' }))];
  const long = 'x'.repeat(200_000);
  for (const find of [() => findModel(models, long), () => findModel(models, 'one', long)]) {
    const error = thrownBy(find);
    expect(error).toMatchObject({ code: 'NOT_FOUND', message: expect.stringMatching(/'x{100}…'|version x{100}…/) });
    expect(String(error).length).toBeLessThan(300);
  }
});
