import { describe, expect, test } from 'vitest';
import { type BlipConfig, readBlipConfig } from '../../../checkpoint/config/blip-config.ts';
import { activations } from '../../../checkpoint/config/vision-config.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const PATH = '/checkpoints/some/config.json';

function read(sections: { text?: object; vision?: object; other?: object }): BlipConfig {
  const { text = { num_attention_heads: 12 }, vision = {}, other = {} } = sections;
  return readBlipConfig({ path: PATH, values: { text_config: text, vision_config: vision, ...other } });
}

function expectInvalid(sections: Parameters<typeof read>[0], parts: readonly string[]): void {
  expectCheckpointError(() => read(sections), 'CHECKPOINT_CONFIG_INVALID', [PATH, 'expected', ...parts]);
}

describe('the number of text heads', () => {
  test('twelve heads are assumed at width 768 where the key is missing, with a warning', () => {
    const { text, warnings } = read({ text: { hidden_size: 768 } });
    expect(text.headCount).toBe(12);
    expect(warnings).toEqual([expect.stringContaining('num_attention_heads is missing; 12 heads of 64')]);
    expect(warnings[0]).toContain(`${PATH}: text_config`);
  });

  test('a missing width is 768, with twelve heads', () => {
    expect(read({ text: {} })).toMatchObject({ text: { hiddenSize: 768, headCount: 12 } });
  });

  test('null counts as missing, with the same warning', () => {
    const { text, warnings } = read({ text: { hidden_size: 1024, num_attention_heads: null } });
    expect(text.headCount).toBe(16);
    expect(warnings).toEqual([expect.stringContaining('num_attention_heads is missing; 16 heads of 64')]);
  });

  test('eight heads at width 768 are taken as they are, with a warning', () => {
    const { text, warnings } = read({ text: { hidden_size: 768, num_attention_heads: 8 } });
    expect(text.headCount).toBe(8);
    expect(warnings).toEqual([
      expect.stringContaining('num_attention_heads is 8; every published BLIP checkpoint has 12'),
    ]);
  });

  test.each([
    ['twelve heads at width 768', { hidden_size: 768, num_attention_heads: 12 }],
    ['eight heads at another width', { hidden_size: 512, num_attention_heads: 8 }],
  ])('%s are no reason for a warning', (_, text) => {
    expect(read({ text })).toMatchObject({ text: { headCount: text.num_attention_heads }, warnings: [] });
  });

  test.each([
    ['missing', {}],
    ['null', { num_attention_heads: null }],
  ])('heads that are %s are refused where the width is no multiple of 64', (_, heads) => {
    expectInvalid({ text: { hidden_size: 100, ...heads } }, ['text_config', 'num_attention_heads', 'got nothing']);
  });
});

describe('values that do not fit', () => {
  test.each([
    [
      'text width',
      { text: { hidden_size: 100, num_attention_heads: 12 } },
      'hidden_size',
      'num_attention_heads 12',
      100,
    ],
    [
      'vision width',
      { vision: { hidden_size: 100, num_attention_heads: 12 } },
      'hidden_size',
      'num_attention_heads 12',
      100,
    ],
    ['image size', { vision: { image_size: 390, patch_size: 16 } }, 'image_size', 'patch_size 16', 390],
  ])('a %s that does not divide is refused with both numbers', (_, sections, key, divisor, got) => {
    expectInvalid(sections, [`expected ${key} to be a multiple of ${divisor}, got ${got}`]);
  });

  test.each(['bos_token_id', 'pad_token_id', 'sep_token_id'])('a %s outside the vocabulary is refused', (key) => {
    const tokens = { vocab_size: 200, bos_token_id: 1, pad_token_id: 0, sep_token_id: 2 };
    const text = { num_attention_heads: 12, ...tokens, [key]: 200 };
    expectInvalid({ text }, ['text_config', `${key} to be below vocab_size 200`, 'got 200']);
    expect(read({ text: { ...text, [key]: 199 } }).text.vocabularySize).toBe(200);
  });

  test.each([
    ['zero', 0, '0'],
    ['negative', -1, '-1'],
    ['a fraction', 2.5, '2.5'],
    ['text', '12', '"12"'],
    ['a list', [12], 'a list of 1'],
    ['true', true, 'true'],
  ])('a number of layers that is %s is refused', (_, layers, got) => {
    expectInvalid({ vision: { num_hidden_layers: layers } }, [
      'vision_config: expected num_hidden_layers to be a whole number of at least 1',
      `got ${got}`,
    ]);
  });

  test('an activation that is not known is refused with those that are', () => {
    expectInvalid({ vision: { hidden_act: 'silu' } }, ['vision_config', 'hidden_act', ...activations, 'got "silu"']);
  });

  test('an epsilon that is not a number is refused', () => {
    expectInvalid({ vision: { layer_norm_eps: '1e-5' } }, ['layer_norm_eps to be a number', 'got "1e-5"']);
  });

  test.each(['text_config', 'vision_config'])('a %s that is not an object is refused', (key) => {
    expectInvalid({ other: { [key]: [] } }, [`${key} to be an object`, 'got a list of 0']);
  });
});

describe('missing and unknown values', () => {
  test('missing sections have the defaults of transformers', () => {
    const { vision, text } = readBlipConfig({ path: PATH, values: {} });
    expect(vision).toEqual({
      hiddenSize: 768,
      intermediateSize: 3072,
      layerCount: 12,
      headCount: 12,
      imageSize: 384,
      positionsImageSize: 384,
      patchSize: 16,
      layerNormEpsilon: 1e-5,
      activation: 'gelu',
    });
    expect(text).toEqual({
      vocabularySize: 30_524,
      hiddenSize: 768,
      encoderHiddenSize: 768,
      intermediateSize: 3072,
      layerCount: 12,
      headCount: 12,
      maxPositions: 512,
      layerNormEpsilon: 1e-12,
      activation: 'gelu',
      bosTokenId: 30_522,
      padTokenId: 0,
      sepTokenId: 102,
    });
  });

  test('unknown keys and null count as missing', () => {
    const given = {
      text: { num_attention_heads: 12, hidden_size: null, sep_token_id: null, gradient_checkpointing: 'x' },
      vision: { patch_size: null, hidden_act: null, num_channels: { no: 'sense' } },
      other: { torch_dtype: 7, text_config_dict: null },
    };
    expect(read(given)).toEqual(read({}));
  });

  test('sections that are null count as missing', () => {
    expect(readBlipConfig({ path: PATH, values: { text_config: null, vision_config: null } })).toEqual(
      readBlipConfig({ path: PATH, values: {} }),
    );
  });

  test('the width that cross-attention reads is that of the vision model, whatever text_config says', () => {
    const { text } = read({
      text: { num_attention_heads: 12, encoder_hidden_size: 768 },
      vision: { hidden_size: 1024, num_attention_heads: 16 },
    });
    expect(text.encoderHiddenSize).toBe(1024);
  });
});
