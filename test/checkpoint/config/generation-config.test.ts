import { describe, expect, test } from 'vitest';
import { readGenerationConfig, readGenerationDefaults } from '../../../checkpoint/config/generation-config.ts';
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

  test('keys that nobody knows give no default, whatever their value', () => {
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
    ['temperature', -0.5, '-0.5'],
    ['temperature', Number.POSITIVE_INFINITY, 'Infinity'],
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

  test.each([
    ['num_beams', '3', 'a whole number from 1 to 32'],
    ['temperature', 'hot', 'a number from 0.001 to 100'],
    ['top_p', 2, 'a number above 0 to 1'],
    ['do_sample', 1, 'true or false'],
    ['early_stopping', 1, 'one of true, false, never'],
  ])('%s of %j: the message says what it may be', (key, value, expected) => {
    const read = () => readGenerationDefaults(textConfig({ [key]: value }), undefined);
    expectCheckpointError(read, 'CHECKPOINT_CONFIG_INVALID', [`expected ${key} to be ${expected}, got`]);
  });

  test('0 as temperature and top_p is for greedy search alone, as transformers writes it', () => {
    const values = { temperature: 0, top_p: 0, num_beams: 2 };
    expect(readGenerationDefaults(textConfig({}), generationConfig(values))).toEqual({ num_beams: 2 });
    const read = () => readGenerationDefaults(textConfig({}), generationConfig({ temperature: 0, do_sample: true }));
    expectCheckpointError(read, 'CHECKPOINT_CONFIG_INVALID', ['temperature', 'got 0']);
  });

  test('a wrong value in text_config is refused even where generation_config.json has a right one', () => {
    expectCheckpointError(
      () => readGenerationDefaults(textConfig({ num_beams: 'three' }), generationConfig({ num_beams: 3 })),
      'CHECKPOINT_CONFIG_INVALID',
      ['/some/config.json: text_config', 'num_beams'],
    );
  });
});

describe('values out of the bounds of requests', () => {
  test.each([
    ['num_beams', 1_000_000, 'num_beams to be at most 32, got 1000000'],
    ['num_return_sequences', 33, 'num_return_sequences to be at most 32, got 33'],
    ['max_length', 1e12, 'max_length to be at most 2147483647'],
    ['max_new_tokens', 2_147_483_648, 'max_new_tokens to be at most 2147483647'],
    ['min_length', 1e15, 'min_length to be at most 2147483647'],
    ['top_k', 1e10, 'top_k to be at most 2147483647'],
    ['no_repeat_ngram_size', 1e10, 'no_repeat_ngram_size to be at most 2147483647'],
    ['length_penalty', 1e300, 'length_penalty to be at most 10, got 1e+300'],
    ['length_penalty', -11, 'length_penalty to be at least -10, got -11'],
    ['temperature', 1e-30, 'temperature to be at least 0.001'],
    ['repetition_penalty', 101, 'repetition_penalty to be at most 100'],
  ])('%s %d is refused in either file, which is named', (key, value, problem) => {
    const inText = () => readGenerationDefaults(textConfig({ [key]: value }), undefined);
    const inFile = () => readGenerationDefaults(textConfig({}), generationConfig({ [key]: value }));
    expectCheckpointError(inText, 'CHECKPOINT_CONFIG_INVALID', ['/some/config.json: text_config: expected', problem]);
    expectCheckpointError(inFile, 'CHECKPOINT_CONFIG_INVALID', ['/some/generation_config.json: expected', problem]);
  });
});

describe('lines for the log', () => {
  const text = { vocabularySize: 100, maxPositions: 512, bosTokenId: 90, padTokenId: 0, sepTokenId: 3 };
  type Values = Readonly<Record<string, unknown>>;
  const linesOf = (values: Values, ofText: Values = {}) => {
    const { notices, warnings } = readGenerationConfig(textConfig(ofText), generationConfig(values), text);
    return { notices, warnings };
  };

  test('there are none for what transformers writes by itself', () => {
    const written = {
      _from_model_config: true,
      bos_token_id: 90,
      eos_token_id: 2,
      pad_token_id: 0,
      transformers_version: '4.48.0',
      use_cache: true,
      num_beams: 1,
      max_length: 20,
      bad_words_ids: null,
      suppress_tokens: [],
      watermarking_config: {},
      typical_p: 1.0,
      num_beam_groups: 1,
      diversity_penalty: 0.0,
      encoder_no_repeat_ngram_size: 0,
      remove_invalid_values: false,
    };
    expect(linesOf(written, written)).toEqual({ notices: [], warnings: [] });
  });

  test('a notice names what generation_config.json changes', () => {
    const values = { num_beams: 3, max_length: 40, top_k: 50, suppress_tokens: [5], forced_eos_token_id: 3 };
    expect(linesOf(values).notices).toEqual([
      '/some/generation_config.json sets max_length 40, num_beams 3, suppress_tokens, forced_eos_token_id. ' +
        'transformers 5 does not read this for BLIP.',
    ]);
  });

  test('a notice names what text_config changes, and generation_config.json is compared with it', () => {
    expect(linesOf({ num_beams: 3, top_p: 0.5 }, { num_beams: 3 }).notices).toEqual([
      '/some/config.json: text_config sets num_beams 3. transformers 5 does not read this for BLIP.',
      '/some/generation_config.json sets top_p 0.5. transformers 5 does not read this for BLIP.',
    ]);
    expect(readGenerationConfig(textConfig({ top_k: 5 }), undefined, text).notices).toHaveLength(1);
  });

  test.each([
    ['typical_p', 0.9],
    ['encoder_repetition_penalty', 2],
    ['encoder_no_repeat_ngram_size', 2],
    ['renormalize_logits', true],
    ['epsilon_cutoff', 0.1],
    ['eta_cutoff', 0.1],
    ['num_beam_groups', 2],
    ['diversity_penalty', 0.5],
    ['penalty_alpha', 0.6],
    ['exponential_decay_length_penalty', [5, 1.1]],
    ['max_time', 3],
    ['constraints', [[1]]],
    ['force_words_ids', [[1]]],
    ['guidance_scale', 1.5],
    ['stop_strings', '.'],
  ])('a warning names %s, which is not supported, in either file', (key, value) => {
    const [line] = linesOf({ [key]: value }).warnings;
    expect(line).toMatch(`/some/generation_config.json: not supported, so without effect: ${key} `);
    const { warnings } = readGenerationConfig(textConfig({ [key]: value }), undefined, text);
    expect(warnings).toEqual([expect.stringContaining(`text_config: not supported, so without effect: ${key} `)]);
  });

  test('a warning names keys of generation_config.json that nobody knows, some of many', () => {
    expect(linesOf({ max_tokens: 5, beams: 3, nothing: null }).warnings).toEqual([
      '/some/generation_config.json: no parameters of generation, so without effect: max_tokens 5, beams 3.',
    ]);
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`key${'x'.repeat(99)}${index}`, 1]));
    const [line = ''] = linesOf(many).warnings;
    expect(line).toMatch(/ and 990 more\.$/);
    expect(line.length).toBeLessThan(800);
  });

  test.each([
    [{ eos_token_id: 7 }, 'eos_token_id 7 is without effect: 3 of text_config is used'],
    [{ eos_token_id: [3, 7] }, 'eos_token_id a list of 2 is without effect'],
    [{ bos_token_id: 1 }, 'bos_token_id 1 is without effect: 90 of text_config'],
    [{ decoder_start_token_id: 101 }, 'decoder_start_token_id 101 is without effect: 90 of text_config'],
    [{ pad_token_id: 9 }, 'pad_token_id 9 is without effect: 0 of text_config'],
    [{ min_length: 30 }, 'min_length 30 is more than max_length 20: texts end at max_length.'],
    [{ min_new_tokens: 9, max_new_tokens: 8 }, 'min_new_tokens 9 is more than max_new_tokens 8'],
    [{ temperature: 0 }, 'temperature 0 is without effect, as nothing is drawn without do_sample.'],
    [{ num_return_sequences: 5, num_beams: 3 }, 'num_return_sequences 5 is more than num_beams 3'],
    [{ num_return_sequences: 2 }, 'num_return_sequences 2 is more than num_beams 1'],
    [{ seed: 3, preset: 'hf' }, 'no parameters of generation, so without effect: seed 3, preset "hf".'],
    [{ max_length: 514 }, 'max_length 514 does not fit max_position_embeddings 512'],
    [{ max_new_tokens: 513 }, 'max_new_tokens 513 does not fit max_position_embeddings 512'],
  ])('a warning says that %j cannot be', (values, line) => {
    expect(linesOf(values).warnings).toEqual([expect.stringContaining(line)]);
  });

  test.each([
    { max_length: 513 },
    { max_new_tokens: 512 },
    { min_length: 20 },
    { eos_token_id: [3] },
    { num_return_sequences: 3, num_beams: 3 },
    { num_return_sequences: 3, do_sample: true },
  ])('no warning says that %j cannot be', (values) => expect(linesOf(values).warnings).toEqual([]));
});
