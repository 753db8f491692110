import { describe, expect, test } from 'vitest';
import { readClipConfig } from '../../../checkpoint/config/clip-config.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const poolingOf = (text_config: object) =>
  readClipConfig({ path: 'config.json', values: { text_config } }).text.pooling;

describe('the token that stands for a text', () => {
  test.each([
    [{}, { eosTokenId: 49_407 }],
    [{ eos_token_id: 2 }, 'largest-id'],
    [{ vocab_size: 664, eos_token_id: 663 }, { eosTokenId: 663 }],
    [{ vocab_size: 2, eos_token_id: 2 }, 'largest-id'], // A placeholder.
  ])('%j', (text, pooling) => {
    expect(poolingOf(text)).toEqual(pooling);
  });

  test.each([{ vocab_size: 664, eos_token_id: 664 }, { vocab_size: 664 }])('must be in the vocabulary: %j', (text) => {
    expectCheckpointError(() => poolingOf(text), 'CHECKPOINT_CONFIG_INVALID', [
      'config.json: text_config: expected eos_token_id to be below vocab_size 664, got',
    ]);
  });
});

/** As transformers 5.18's `CLIPConfig(text_config=…, text_config_dict=…)` has them. */
describe('sections of older files', () => {
  const small = { hidden_size: 32, num_attention_heads: 4, num_hidden_layers: 2 };

  test.each<[string, Readonly<Record<string, unknown>>, readonly [width: number, heads: number, layers: number]]>([
    ['a section alone', { text_config: small }, [32, 4, 2]],
    ['a section, and null', { text_config: small, text_config_dict: null }, [32, 4, 2]],
    ['a section_dict alone', { text_config_dict: small }, [32, 4, 2]],
    [
      'a section_dict before a section, with its defaults',
      { text_config: small, text_config_dict: { hidden_size: 64 } },
      [64, 8, 12],
    ],
    ['an empty section_dict, which is all defaults', { text_config: small, text_config_dict: {} }, [512, 8, 12]],
  ])('%s', (_, values, [hiddenSize, headCount, layerCount]) => {
    const { text } = readClipConfig({ path: 'config.json', values });
    expect(text).toMatchObject({ hiddenSize, headCount, layerCount });
  });

  test('of images likewise, with a line for the log where the two differ', () => {
    const values = { vision_config: { patch_size: 32, image_size: 224 }, vision_config_dict: { patch_size: 14 } };
    const { vision, warnings } = readClipConfig({ path: 'config.json', values });
    expect(vision.patchSize).toBe(14);
    expect(warnings).toEqual([
      'config.json: vision_config_dict replaces vision_config, as in transformers. They differ in patch_size.',
    ]);
  });

  test('without a line where they say one thing', () => {
    const values = { text_config: { ...small, model_type: 'clip_text_model' }, text_config_dict: small };
    expect(readClipConfig({ path: 'config.json', values }).warnings).toEqual([]);
  });

  test('that are no objects are refused by name', () => {
    const read = () => readClipConfig({ path: 'config.json', values: { text_config_dict: [] } });
    expectCheckpointError(read, 'CHECKPOINT_CONFIG_INVALID', ['text_config_dict to be an object, got a list of 0']);
  });
});
