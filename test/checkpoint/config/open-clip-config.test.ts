import { describe, expect, test } from 'vitest';
import { readOpenClipConfig } from '../../../checkpoint/config/open-clip-config.ts';
import { readOpenClipImageProcessor } from '../../../checkpoint/config/open-clip-image-processor.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

interface Changes {
  readonly model?: object;
  readonly vision?: object;
  readonly text?: object;
}

const read = ({ model, vision, text }: Changes = {}, ownVocabulary = false) => {
  const sections = { vision_cfg: { patch_size: 32, ...vision }, text_cfg: { ...text } };
  const values = { model_cfg: { embed_dim: 512, ...sections, ...model } };
  return readOpenClipConfig({ path: 'open_clip_config.json', values }, ownVocabulary);
};

describe('model_cfg', () => {
  test('missing keys take open_clip’s defaults', () => {
    const layers = { layerCount: 12, layerNormEpsilon: 1e-5, activation: 'gelu' };
    expect(read()).toEqual({
      vision: {
        ...layers,
        hiddenSize: 768,
        intermediateSize: 3072,
        headCount: 12,
        imageSize: 224,
        positionsImageSize: 224,
        patchSize: 32,
      },
      text: {
        ...layers,
        hiddenSize: 512,
        intermediateSize: 2048,
        headCount: 8,
        vocabularySize: 49_408,
        maxPositions: 77,
        pooling: 'largest-id',
      },
      projectionSize: 512,
      warnings: [],
    });
  });

  test('ViT-g-14 and ViT-bigG-14 have their published widths', () => {
    const giant = read({ vision: { width: 1408, head_width: 88, mlp_ratio: 4.3637, patch_size: 14 } }).vision;
    expect(giant).toMatchObject({ headCount: 16, intermediateSize: 6144 });
    const gigantic = read({ vision: { width: 1664, head_width: 104, mlp_ratio: 4.9231, patch_size: 14 } }).vision;
    expect(gigantic).toMatchObject({ headCount: 16, intermediateSize: 8192 });
  });

  test('options of norms and activations', () => {
    const { vision, text } = read({
      vision: { norm_kwargs: { eps: 1e-6 }, act_kwargs: { approximate: 'tanh' }, image_size: [256, 256] },
      text: { norm_kwargs: null, act_kwargs: {}, pool_type: 'eos', eos_id: 49_407 },
    });
    expect(vision).toMatchObject({ layerNormEpsilon: 1e-6, activation: 'gelu_pytorch_tanh', imageSize: 256 });
    expect(text).toMatchObject({ layerNormEpsilon: 1e-5, activation: 'gelu', pooling: { eosTokenId: 49_407 } });
    const quick = read({ model: { quick_gelu: true } });
    expect([quick.vision.activation, quick.text.activation]).toEqual(['quick_gelu', 'quick_gelu']);
  });

  test('values that mean nothing are taken', () => {
    const vision = {
      ls_init_value: null,
      attentional_pool: false,
      pool_type: 'tok',
      block_type: null,
      patch_dropout: 0.5,
    };
    const text = { hf_tokenizer_name: 'openai/clip-vit-large-patch14', tokenizer_kwargs: {}, proj_type: 'linear' };
    expect(read({ vision, text, model: { init_logit_bias: null, custom_text: true } }).warnings).toEqual([]);
  });

  test('unknown keys are named', () => {
    const [warning] = read({ vision: { window_size: 7 } }).warnings;
    expect(warning).toContain('vision_cfg: has no effect: window_size');
  });

  test.each<readonly [what: string, changes: Changes]>([
    ['CoCa', { model: { multimodal_cfg: {} } }],
    ['sigmoid', { model: { init_logit_bias: -10 } }],
    ['timm', { vision: { timm_model_name: 'vit_base_patch16_224' } }],
    ['ResNet', { vision: { layers: [3, 4, 6, 3] } }],
    ['attentional pooling', { vision: { attentional_pool: true } }],
    ['no norm before the layers', { vision: { no_ln_pre: true } }],
    ['positions that are not learned', { vision: { pos_embed_type: 'sin_cos_2d' } }],
    ['class token', { vision: { pool_type: 'avg' } }],
    ['class token', { vision: { global_average_pool: true } }],
    ['norms of patches', { vision: { input_patchnorm: true } }],
    ['layer scale', { vision: { ls_init_value: 0.0001 } }],
    ['norms of queries and keys', { text: { qk_norm: true } }],
    ['custom attention blocks', { text: { block_type: 'custom' } }],
    ['options of norms', { text: { norm_kwargs: { elementwise_affine: false } } }],
    ['text tower of transformers', { text: { hf_model_name: 'roberta-base' } }],
    ['another tokenizer', { text: { hf_tokenizer_name: 'bert-base-uncased' } }],
    ['options of the tokenizer', { text: { tokenizer_kwargs: { clean: 'canonicalize' } } }],
    ['without causal mask', { text: { no_causal_mask: true } }],
    ['a class token behind the text', { text: { embed_cls: true } }],
    ['the end token', { text: { pool_type: 'last' } }],
    ['no projection', { text: { proj_type: 'none' } }],
    ['a bias', { text: { proj_bias: true } }],
  ])('%s is refused', (what, changes) => {
    expectCheckpointError(() => read(changes), 'CHECKPOINT_ARCHITECTURE_UNSUPPORTED', ['open_clip_config.json', what]);
  });

  test.each<readonly [key: string, changes: Changes]>([
    ['embed_dim', { model: { embed_dim: undefined } }],
    ['head_width', { vision: { head_width: 50 } }],
    ['heads', { vision: { width: 1024, head_width: 1 } }],
    ['image_size', { vision: { image_size: 225 } }],
    ['image_size', { vision: { image_size: [224, 448] } }],
    ['mlp_ratio', { vision: { mlp_ratio: 0 } }],
    ['width', { text: { width: 513 } }],
    ['eos_id', { text: { pool_type: 'eos', eos_id: 49_408 } }],
    ['quick_gelu', { model: { quick_gelu: 'yes' } }],
  ])('a wrong %s is refused: %j', (key, changes) => {
    expectCheckpointError(() => read(changes), 'CHECKPOINT_CONFIG_INVALID', ['open_clip_config.json', key]);
  });

  test('a file without model_cfg is refused', () => {
    const section = { path: 'open_clip_config.json', values: {} };
    expectCheckpointError(() => readOpenClipConfig(section, true), 'CHECKPOINT_CONFIG_INVALID', ['model_cfg']);
  });

  test('another vocabulary needs a tokenizer of its own', () => {
    expect(read({ text: { vocab_size: 600 } }, true).text.vocabularySize).toBe(600);
    const parts = ['vocab_size 49408', 'tokenizer.json', '600'];
    expectCheckpointError(() => read({ text: { vocab_size: 600 } }), 'CHECKPOINT_TOKENIZER_INVALID', parts);
  });
});

describe('preprocess_cfg', () => {
  const readImages = (values: object) =>
    readOpenClipImageProcessor({ path: 'open_clip_config.json: preprocess_cfg', values: { ...values } }, 224);

  test('missing keys take open_clip’s defaults', () => {
    expect(readImages({})).toEqual({
      resize: { kind: 'crop', shortestEdge: 224, side: 224, roundsMiddle: true },
      rescaleFactor: 1 / 255,
      normalize: {
        mean: [0.48145466, 0.4578275, 0.40821073],
        standardDeviation: [0.26862954, 0.26130258, 0.27577711],
      },
    });
  });

  test('all keys', () => {
    const values = { size: 99, mean: 0, std: [1, 2, 3], interpolation: 'bilinear', resize_mode: 'squash', mode: 'RGB' };
    expect(readImages(values)).toEqual({
      resize: { kind: 'squash', side: 224, interpolation: 'bilinear' },
      rescaleFactor: 1 / 255,
      normalize: { mean: [0, 0, 0], standardDeviation: [1, 2, 3] },
    });
    expect(readImages({ interpolation: 'random', resize_mode: 'squash' }).resize).toEqual({
      kind: 'squash',
      side: 224,
    });
  });

  test.each([
    ['resize_mode', { resize_mode: 'longest' }],
    ['interpolation', { interpolation: 'nearest' }],
    ['mode', { mode: 'L' }],
    ['std', { std: 0 }],
    ['mean', { mean: [1, 2] }],
  ])('%s: %j is refused', (key, values) => {
    expectCheckpointError(() => readImages(values), 'CHECKPOINT_CONFIG_INVALID', ['preprocess_cfg', key]);
  });
});
