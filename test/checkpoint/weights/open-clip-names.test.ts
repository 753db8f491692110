import { describe, expect, test } from 'vitest';
import { openClipRegions } from '../../../checkpoint/weights/open-clip-names.ts';
import type { TensorRegion } from '../../../checkpoint/weights/safetensors.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { checkpointFolder, openClipNames } from '../../support/goldens.ts';
import { openClipFolder } from '../../support/open-clip.ts';
import { safetensorsBytes } from '../../support/safetensors-file.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

function region(name: string, shape: readonly number[]): TensorRegion {
  const lengthBytes = 4 * shape.reduce((product, size) => product * size, 1);
  return { name, dtype: 'F32', shape, path: '/weights', offsetBytes: 1000, lengthBytes };
}

const namesOf = (name: string) => openClipRegions(name, region(name, [6, 2])).map((renamed) => renamed.name);

describe('names of open_clip', () => {
  test.each(openClipNames)('%s: all become names that transformers saves, but for the projections', (name) => {
    // clip-real-end has three layers of text and one of vision; only names of layers are compared.
    const bare = (tensor: string) => tensor.replace(/layers\.\d+/, 'layers.N').replace('transposed_weight', 'weight');
    const wanted = new Set([...openWeights(checkpointFolder('clip-real-end')).regions.keys()].map(bare));
    const got = new Set([...openWeights(openClipFolder(name)).regions.keys()].map(bare));
    expect([...got].sort()).toEqual([...wanted].sort());
  });

  test.each([
    ['visual.positional_embedding', 'vision_model.embeddings.position_embedding.weight'],
    ['visual.conv1.weight', 'vision_model.embeddings.patch_embedding.weight'],
    ['visual.proj', 'visual_projection.transposed_weight'],
    ['visual.transformer.resblocks.11.ln_2.bias', 'vision_model.encoder.layers.11.layer_norm2.bias'],
    ['visual.transformer.resblocks.0.mlp.c_proj.weight', 'vision_model.encoder.layers.0.mlp.fc2.weight'],
    ['transformer.resblocks.3.attn.out_proj.bias', 'text_model.encoder.layers.3.self_attn.out_proj.bias'],
    ['text.transformer.resblocks.3.mlp.c_fc.bias', 'text_model.encoder.layers.3.mlp.fc1.bias'],
    ['text.ln_final.weight', 'text_model.final_layer_norm.weight'],
    ['text_projection', 'text_projection.transposed_weight'],
    ['text.text_projection.weight', 'text_projection.weight'],
  ])('%s is %s', (original, name) => {
    expect(namesOf(original)).toEqual([name]);
  });

  test.each(['attn_mask', 'visual.transformer.resblocks', 'vision_model.post_layernorm.weight', ''])(
    '%j stays as it is',
    (name) => {
      expect(namesOf(name)).toEqual([name]);
    },
  );
});

describe('joined projections', () => {
  test('are byte ranges of the tensor', () => {
    const name = 'visual.transformer.resblocks.1.attn.in_proj_weight';
    const parts = openClipRegions(name, region(name, [12, 5]));
    expect(parts.map((part) => part.name)).toEqual(
      ['q', 'k', 'v'].map((letter) => `vision_model.encoder.layers.1.self_attn.${letter}_proj.weight`),
    );
    expect(
      parts.map(({ region: { name: own, shape, offsetBytes, lengthBytes } }) => [own, shape, offsetBytes, lengthBytes]),
    ).toEqual([
      [`${name}[0:4]`, [4, 5], 1000, 80],
      [`${name}[4:8]`, [4, 5], 1080, 80],
      [`${name}[8:12]`, [4, 5], 1160, 80],
    ]);
  });

  test('must have a multiple of three rows', () => {
    const name = 'transformer.resblocks.1.attn.in_proj_bias';
    expectCheckpointError(() => openClipRegions(name, region(name, [4])), 'CHECKPOINT_TENSOR_MISMATCH', [
      name,
      'got 4',
    ]);
  });
});

test.each(['module.', 'model.', 'clip.module.'])('names of a wrapped model, with %j before them', (prefix) => {
  const header = Object.fromEntries(
    ['visual.proj', 'text_projection', 'transformer.resblocks.0.ln_1.weight', 'logit_scale'].map((name, index) => [
      `${prefix}${name}`,
      { dtype: 'F32', shape: [1], data_offsets: [4 * index, 4 * index + 4] },
    ]),
  );
  const weights = safetensorsBytes({ header, dataBytes: 16 });
  const folder = temporaryFolder({ 'open_clip_config.json': '{}', 'open_clip_model.safetensors': weights });
  expect([...openWeights(folder).regions.keys()]).toEqual([
    'visual_projection.transposed_weight',
    'text_projection.transposed_weight',
    'text_model.encoder.layers.0.layer_norm1.weight',
    'logit_scale',
  ]);
});

test('a logit_scale in a vector is a number', () => {
  expect(openClipRegions('logit_scale', region('logit_scale', [1]))[0]?.region.shape).toEqual([]);
  expect(openClipRegions('logit_scale', region('logit_scale', [2]))[0]?.region.shape).toEqual([2]);
});
