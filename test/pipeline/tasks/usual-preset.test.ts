import { expect, test } from 'vitest';
import { schemas } from '../../../input_schema.ts';
import { usualPreset } from '../../../pipeline/tasks/usual-preset.ts';

/** Which models have the preset of `BLIP_PRESET`. */

test.each([
  ['captioning', 'bentoblip'],
  ['question-answering', 'original-blip'],
  ['image-text-to-text', 'vqa'],
] as const)('%s has %s', (task, preset) => {
  expect(usualPreset(schemas[task], preset)).toEqual({ preset, notice: undefined });
});

test.each([
  ['captioning', 'vqa', 'this model has hf, bentoblip, original-blip'],
  ['image-text-to-text', 'bentoblip', 'this model has hf, vqa, original-blip'],
  ['retrieval', 'hf', 'models of this task have no presets'],
  ['clip', 'hf', 'models of this task have no presets'],
] as const)('%s has no %s, and says so', (task, preset, why) => {
  const notice = `BLIP_PRESET=${preset} has no effect: ${why}.`;
  expect(usualPreset(schemas[task], preset)).toEqual({ preset: undefined, notice });
});

test('without the setting there is nothing to say', () => {
  expect(usualPreset(schemas.clip, undefined)).toEqual({ preset: undefined, notice: undefined });
});
