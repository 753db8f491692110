import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import Handler from '../app.ts';
import { dataUri, testSettings } from './support/server.ts';

/** Resident memory, after the garbage is collected. */
function residentBytes(): number {
  setFlagsFromString('--expose-gc');
  const collectGarbage: () => void = runInNewContext('gc');
  collectGarbage();
  return process.memoryUsage.rss();
}

test('loading and releasing a model again and again takes no more memory', { timeout: 120_000 }, async () => {
  const model = new Handler(testSettings());
  const loadAndRelease = async () => {
    await model.initialize();
    await model.infer({ img_url: dataUri('chelsea') });
    await model.finalize();
  };
  for (let count = 0; count < 5; count += 1) await loadAndRelease();
  const afterFirstBytes = residentBytes();
  for (let count = 0; count < 15; count += 1) await loadAndRelease();
  expect(residentBytes() - afterFirstBytes).toBeLessThan(80_000_000);
});
