import { expect, test } from 'vitest';
import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { runLimitsOf } from '../../pipeline/run-limits.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { publishedBlip2 } from '../support/published-blip2.ts';
import { testSettings } from '../support/server.ts';

/** A large language model has more time for a run, and its usual batch is one run. */

const blip = openCheckpoint(checkpointFolder('narrow-vision'));
const settings = testSettings({ maxBatchSize: 8, runLimitMs: 1000 });

test('BLIP, and a small language model, have the limits of the settings', () => {
  for (const checkpoint of [blip, openCheckpoint(checkpointFolder('blip2-opt'))])
    expect(runLimitsOf(settings, checkpoint)).toEqual({ runLimitMs: 1000 });
  expect(runLimitsOf({ ...settings, maxRunBytes: 5 }, blip)).toEqual({ maxRunBytes: 5, runLimitMs: 1000 });
});

test('a large language model has as many times the time as it has billions of weights', () => {
  const { runLimitMs } = runLimitsOf(settings, { config: publishedBlip2['opt-2.7b'] });
  expect(runLimitMs / 1000).toBeCloseTo(2.65, 1);
});

test('a usual batch of a large language model is one run, prompts with their image included', () => {
  const { maxRunTokens } = runLimitsOf(settings, { config: publishedBlip2['opt-6.7b'] });
  expect(maxRunTokens).toBeGreaterThan(8 * (32 + 64) * 6.6);
  expect(runLimitsOf(settings, { config: publishedBlip2['opt-2.7b'] }).maxRunTokens).toBeUndefined();
});
