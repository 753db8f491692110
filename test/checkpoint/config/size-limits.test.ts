import { describe, expect, test } from 'vitest';
import { readBlipConfig } from '../../../checkpoint/config/blip-config.ts';
import { readClipConfig } from '../../../checkpoint/config/clip-config.ts';
import { readImageProcessorConfig } from '../../../checkpoint/config/image-processor-config.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

type Values = Readonly<Record<string, unknown>>;

const families: readonly (readonly [string, (values: Values) => unknown])[] = [
  ['BLIP', (values) => readBlipConfig({ path: '/some/config.json', values })],
  ['CLIP', (values) => readClipConfig({ path: '/some/config.json', values })],
];

describe.each(families)('%s', (_, read) => {
  const heads = { num_attention_heads: 12 };

  test.each([
    ['vision_config', 'hidden_size', 1e9],
    ['vision_config', 'intermediate_size', 1e9],
    ['vision_config', 'num_hidden_layers', 1_000_000],
    ['vision_config', 'num_attention_heads', 257],
    ['vision_config', 'image_size', 1_000_000],
    ['vision_config', 'patch_size', 100_000],
    ['text_config', 'hidden_size', 32_769],
    ['text_config', 'intermediate_size', 1e12],
    ['text_config', 'num_hidden_layers', 513],
    ['text_config', 'num_attention_heads', 1e6],
    ['text_config', 'vocab_size', 1e9],
    ['text_config', 'max_position_embeddings', 1e9],
  ])('refuses %s with %s %d, by name', (section, key, value) => {
    const values = { text_config: heads, vision_config: heads, [section]: { ...heads, [key]: value } };
    expectCheckpointError(() => read(values), 'CHECKPOINT_CONFIG_INVALID', [
      `/some/config.json: ${section}: expected ${key} to be a whole number of at most `,
      `got ${value}`,
    ]);
  });

  test('refuses more patches than attention has room for', () => {
    const vision_config = { ...heads, image_size: 4096, patch_size: 16 };
    expectCheckpointError(() => read({ text_config: heads, vision_config }), 'CHECKPOINT_CONFIG_INVALID', [
      'vision_config: expected image_size and patch_size to make at most 6454 positions for num_attention_heads 12',
      'got 65537',
    ]);
  });

  test('refuses more positions of texts than attention has room for', () => {
    const text_config = { ...heads, hidden_size: 768, max_position_embeddings: 65_536 };
    expectCheckpointError(() => read({ text_config, vision_config: heads }), 'CHECKPOINT_CONFIG_INVALID', [
      'text_config: expected max_position_embeddings to make at most 6454 positions',
    ]);
  });

  test('takes models larger than those that are published', () => {
    const vision_config = { hidden_size: 5120, num_attention_heads: 16, intermediate_size: 25_600, image_size: 1024 };
    const text_config = { hidden_size: 4096, num_attention_heads: 32, num_hidden_layers: 64, vocab_size: 256_000 };
    expect(() => read({ vision_config, text_config })).not.toThrow();
  });
});

test('an image is not made larger than any model reads', () => {
  const values = { size: { shortest_edge: 1_000_000 }, crop_size: 224 };
  const read = () => readImageProcessorConfig({ path: 'preprocessor_config.json', values }, 224, 'crop');
  expectCheckpointError(read, 'CHECKPOINT_CONFIG_INVALID', ['shortest_edge to be a whole number of at most 4096']);
});
