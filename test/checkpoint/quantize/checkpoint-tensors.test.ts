import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type TensorToWrite, writeSafetensors } from '../../../checkpoint/new-checkpoint/write-safetensors.ts';
import { checkpointTensors } from '../../../checkpoint/quantize/checkpoint-tensors.ts';
import { readSafetensorsHeader } from '../../../checkpoint/weights/safetensors.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** What becomes of the tensors of BLIP-2 and InstructBLIP, by the names that their checkpoints give them. */

const IN = 64;

const matrix = (name: string, shape: readonly number[] = [3, IN]): TensorToWrite => {
  const count = shape.reduce((product, size) => product * size, 1);
  const bytes = new Uint8Array(Float32Array.from({ length: count }, (_, place) => Math.sin(place)).buffer);
  return { name, dtype: 'F32', shape, lengthBytes: bytes.length, read: () => bytes };
};

async function quantized(names: readonly string[], bits?: 4 | 8): Promise<readonly string[]> {
  const folder = temporaryFolder();
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    names.map((name) => matrix(name)),
  );
  return checkpointTensors(openWeights(folder).regions, bits).map(({ name, dtype }) => `${name} ${dtype}`);
}

const products = (module: string) => [`${module}.weight_scale F32`, `${module}.weight_quantized I8`];
const blocks = (module: string) => [`${module}.weight_block_scale F32`, `${module}.weight_blocks U8`];
const halfBytes = (module: string) => [
  `${module}.weight_block_scale F32`,
  `${module}.weight_blocks_4_bits U8`,
  `${module}.weight_block_zero_point U8`,
];

describe('layers', () => {
  test.each([
    'vision_model.encoder.layers.7.self_attn.qkv',
    'vision_model.encoder.layers.7.mlp.fc2',
    'qformer.encoder.layer.2.attention.attention.query',
    'qformer.encoder.layer.2.crossattention.attention.value',
    'qformer.encoder.layer.2.intermediate_query.dense',
    'qformer.encoder.layer.2.output.dense',
  ])('%s are products, whatever the bits of the language model', async (module) => {
    for (const bits of [8, 4] as const) expect(await quantized([`${module}.weight`], bits)).toEqual(products(module));
  });

  test.each([
    'language_model.model.decoder.layers.31.self_attn.out_proj',
    'language_model.model.decoder.layers.31.fc1',
    'language_model.encoder.block.3.layer.0.SelfAttention.q',
    'language_model.decoder.block.3.layer.1.EncDecAttention.k',
    'language_model.decoder.block.3.layer.2.DenseReluDense.wo',
    'language_model.model.layers.31.mlp.gate_proj',
  ])('%s are blocks of 8 or 4 bits', async (module) => {
    expect(await quantized([`${module}.weight`])).toEqual(blocks(module));
    expect((await quantized([`${module}.weight`], 4)).toSorted()).toEqual(halfBytes(module).toSorted());
  });

  test.each([
    'query_tokens',
    'language_projection.weight',
    'vision_projection.weight',
    'itm_head.weight',
    'qformer.embeddings.word_embeddings.weight',
    'language_model.model.decoder.embed_positions.weight',
    'language_model.model.decoder.project_in.weight',
    'language_model.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
  ])('%s stays as it is', async (name) => {
    expect(await quantized([name], 4)).toEqual([`${name} F32`]);
  });
});

describe('a head', () => {
  const head = blocks('language_model.lm_head');

  test.each([8, 4] as const)('is made of the embeddings where a checkpoint has only those: %d bits', async (bits) => {
    for (const name of ['language_model.model.decoder.embed_tokens.weight', 'language_model.model.embed_tokens.weight'])
      expect(await quantized([name], bits)).toEqual([`${name} F16`, ...head]);
  });

  test('of its own takes the place of its matrix', async () => {
    const names = ['language_model.shared.weight', 'language_model.lm_head.weight'];
    expect(await quantized(names)).toEqual(['language_model.shared.weight F16', ...head]);
  });

  test('keeps its matrix where no embeddings are stored', async () => {
    expect(await quantized(['language_model.lm_head.weight'])).toEqual(['language_model.lm_head.weight F32', ...head]);
  });

  test('is none where there is no language model', async () => {
    expect(await quantized(['itm_head.weight'])).toEqual(['itm_head.weight F32']);
  });
});

test('copies of embeddings, and tensors that nothing reads, are left out', async () => {
  const names = [
    'language_model.decoder.embed_tokens.weight',
    'language_model.encoder.embed_tokens.weight',
    'qformer.embeddings.position_ids',
    'language_model.decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight',
    'language_model.model.layers.0.self_attn.rotary_emb.inv_freq',
  ];
  expect(await quantized(names)).toEqual([
    'language_model.encoder.embed_tokens.weight F16',
    ...blocks('language_model.lm_head'),
  ]);
});

test('floats begin at multiples of four, whatever the sizes', async () => {
  const [source, target] = [temporaryFolder(), temporaryFolder()];
  await writeSafetensors(join(source, 'model.safetensors'), [
    matrix('language_model.shared.weight', [7, 3]),
    matrix('language_model.encoder.block.0.layer.0.SelfAttention.q.weight', [5, 33]),
    matrix('query_tokens', [1, 3]),
  ]);
  const path = join(target, 'model.safetensors');
  await writeSafetensors(path, checkpointTensors(openWeights(source).regions, 4));
  const regions = readSafetensorsHeader(path);
  expect(regions.filter(({ dtype }) => dtype === 'F32').length).toBeGreaterThan(2);
  const misplaced = regions.filter(({ dtype, offsetBytes }) => dtype === 'F32' && offsetBytes % 4 !== 0);
  expect(misplaced).toEqual([]);
});
