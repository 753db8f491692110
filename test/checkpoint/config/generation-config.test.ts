import { describe, expect, test } from 'vitest';
import { readGenerationDefaults } from '../../../checkpoint/config/generation-config.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const textConfig = (values: Readonly<Record<string, unknown>>) => ({ path: '/some/config.json: text_config', values });
const generationConfig = (values: Readonly<Record<string, unknown>>) => ({
  path: '/some/generation_config.json',
  values,
});

describe('where defaults come from', () => {
  test('nowhere: there are none', () => {
    expect(readGenerationDefaults(textConfig({}), undefined)).toEqual({});
  });

  test('text_config, where published files keep them', () => {
    const values = { max_length: 20, num_beams: 3, top_p: 1, do_sample: false, early_stopping: 'never' };
    expect(readGenerationDefaults(textConfig(values), undefined)).toEqual(values);
  });

  test('generation_config.json, before text_config, key by key', () => {
    const defaults = readGenerationDefaults(
      textConfig({ num_beams: 3, max_length: 20, temperature: 0.5 }),
      generationConfig({ num_beams: 1, max_new_tokens: 30 }),
    );
    expect(defaults).toEqual({ num_beams: 1, max_new_tokens: 30, max_length: 20, temperature: 0.5 });
  });

  test('null in generation_config.json leaves what text_config says', () => {
    const defaults = readGenerationDefaults(
      textConfig({ num_beams: 3 }),
      generationConfig({ num_beams: null, top_k: null }),
    );
    expect(defaults).toEqual({ num_beams: 3 });
  });

  test('keys that nobody knows are left out, whatever their value', () => {
    const values = { bos_token_id: 30_522, transformers_version: '4.26', num_beam_groups: 'x', guidance_scale: {} };
    expect(readGenerationDefaults(textConfig(values), generationConfig(values))).toEqual({});
  });
});

describe('values of a wrong type', () => {
  test.each([
    ['max_length', '20', '"20"'],
    ['max_length', -1, '-1'],
    ['max_new_tokens', 2.5, '2.5'],
    ['num_beams', true, 'true'],
    ['min_length', [], 'a list of 0'],
    ['top_k', {}, 'an object'],
    ['temperature', 'hot', '"hot"'],
    ['top_p', false, 'false'],
    ['length_penalty', '1.0', '"1.0"'],
    ['do_sample', 1, '1'],
    ['early_stopping', 'always', '"always"'],
    ['num_beams', 0, '0'],
    ['max_new_tokens', 0, '0'],
    ['num_return_sequences', 0, '0'],
    ['temperature', 0, '0'],
    ['repetition_penalty', -1, '-1'],
    ['top_p', 1.5, '1.5'],
    ['min_p', -0.1, '-0.1'],
    ['min_p', 1.5, '1.5'],
  ])('%s of %j is refused in either file, which is named', (key, value, got) => {
    for (const [path, read] of [
      ['/some/config.json: text_config', () => readGenerationDefaults(textConfig({ [key]: value }), undefined)],
      [
        '/some/generation_config.json',
        () => readGenerationDefaults(textConfig({}), generationConfig({ [key]: value })),
      ],
    ] as const) {
      expectCheckpointError(read, 'CHECKPOINT_CONFIG_INVALID', [path, `expected ${key}`, `got ${got}`]);
    }
  });

  test('a wrong value in text_config is refused even where generation_config.json has a right one', () => {
    expectCheckpointError(
      () => readGenerationDefaults(textConfig({ num_beams: 'three' }), generationConfig({ num_beams: 3 })),
      'CHECKPOINT_CONFIG_INVALID',
      ['/some/config.json: text_config', 'num_beams'],
    );
  });
});
