import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { transformersName } from '../../../checkpoint/weights/original-names.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { torchArchivePath } from '../../support/torch-archive-file.ts';

describe('names of original checkpoints', () => {
  test('all become the names that transformers saves', () => {
    const original = openWeights(dirname(torchArchivePath('original-names/pytorch_model.bin')));
    const wanted = [...openWeights(checkpointFolder('untied-bfloat16')).regions.keys()];
    const names = [...original.regions.keys()];
    expect(names.filter((name) => original.regions.get(name)?.name !== name).length).toBeGreaterThan(30);
    expect(names.sort()).toEqual(wanted.filter((name) => !name.endsWith('position_ids')).sort());
  });

  test.each([
    ['visual_encoder.cls_token', 'vision_model.embeddings.class_embedding'],
    ['visual_encoder.pos_embed', 'vision_model.embeddings.position_embedding'],
    ['visual_encoder.patch_embed.proj.bias', 'vision_model.embeddings.patch_embedding.bias'],
    ['visual_encoder.norm.weight', 'vision_model.post_layernorm.weight'],
    ['visual_encoder.blocks.23.norm1.bias', 'vision_model.encoder.layers.23.layer_norm1.bias'],
    ['visual_encoder.blocks.0.norm2.weight', 'vision_model.encoder.layers.0.layer_norm2.weight'],
    ['visual_encoder.blocks.11.attn.qkv.weight', 'vision_model.encoder.layers.11.self_attn.qkv.weight'],
    ['visual_encoder.blocks.1.attn.proj.weight', 'vision_model.encoder.layers.1.self_attn.projection.weight'],
    ['visual_encoder.blocks.1.mlp.fc2.bias', 'vision_model.encoder.layers.1.mlp.fc2.bias'],
  ])('%s is %s', (original, name) => {
    expect(transformersName(original)).toBe(name);
  });

  test.each([
    'vision_model.encoder.layers.0.self_attn.qkv.weight',
    'text_decoder.bert.encoder.layer.0.attention.self.query.weight',
    'text_encoder.embeddings.position_ids',
    'visual_encoder_m.blocks.0.norm1.weight',
    'module.visual_encoder.norm.weight',
    'visual_encoder.blocks.one.norm1.weight',
    'visual_encoder.cls_token.more',
    'itm_head.weight',
    '',
  ])('%j stays as it is', (name) => {
    expect(transformersName(name)).toBe(name);
  });
});
