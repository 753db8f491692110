import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findTensor, openWeights } from '../../../checkpoint/weights/weights.ts';
import { unwrapNames } from '../../../checkpoint/weights/wrapper-names.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { safetensorsBytes } from '../../support/safetensors-file.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const own = ['vision_model.post_layernorm.weight', 'text_model.final_layer_norm.bias', 'logit_scale'];

function unwrapped(names: readonly string[]): readonly string[] {
  return names.map(unwrapNames(names));
}

/** A checkpoint of the fixtures with other names in its safetensors. */
function renamedCheckpoint(rename: (name: string) => string): string {
  const source = checkpointFolder('narrow-vision');
  const folder = join(temporaryFolder(), 'renamed');
  cpSync(source, folder, { recursive: true });
  const file = readFileSync(join(source, 'model.safetensors'));
  const end = 8 + Number(file.readBigUInt64LE());
  const header: Readonly<Record<string, object>> = JSON.parse(file.subarray(8, end).toString());
  const entries = Object.entries(header).map(([name, entry]) => [name === '__metadata__' ? name : rename(name), entry]);
  const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([length, text, file.subarray(end)]));
  return folder;
}

describe('names of wrapped models', () => {
  test.each([
    '',
    'module.',
    '_orig_mod.',
    'model.',
    'module._orig_mod.',
    '_orig_mod.module.model.',
    'model.module.',
    '_forward_module.model.',
    'net.blip.',
    'base_model.model.',
  ])('lose the prefix %j', (prefix) => {
    expect(unwrapped(own.map((name) => prefix + name))).toEqual(own);
  });

  test('lose wrappers of parts', () => {
    expect(unwrapped(['vision_model._orig_mod.post_layernorm.module.weight'])).toEqual([
      'vision_model.post_layernorm.weight',
    ]);
  });

  test('keep a prefix that only a part of the model has, and other models beside it', () => {
    const names = ['model.vision_model.a', 'average.vision_model.a', 'vision_model.b'];
    expect(unwrapped(names)).toEqual(names);
  });

  test('lose the prefix of the model beside tensors that are none of it', () => {
    expect(unwrapped(['model.vision_model.a', 'model.logit_scale', 'loss.weight'])).toEqual([
      'vision_model.a',
      'logit_scale',
      'loss.weight',
    ]);
  });
});

describe('a checkpoint', () => {
  test('has the tensors of a wrapped model, which keep the names of their file', () => {
    const wanted = openWeights(checkpointFolder('narrow-vision')).regions;
    const { regions } = openWeights(renamedCheckpoint((name) => `module._orig_mod.${name}`));
    expect([...regions.keys()]).toEqual([...wanted.keys()]);
    for (const [name, region] of regions) {
      expect(region.name).toBe(`module._orig_mod.${name}`);
      expect({ ...region, offsetBytes: 0 }).toMatchObject({ shape: wanted.get(name)?.shape });
    }
  });

  test('that holds another model is refused with the names that it has', () => {
    const folder = renamedCheckpoint((name) => `a.${name.replace(/vision_model|text_decoder/, 'b')}`);
    expectCheckpointError(() => findTensor(openWeights(folder), ['wanted'], [1]), 'CHECKPOINT_TENSOR_MISSING', [
      'expected a tensor wanted [1], got none; its weights are ',
      ' tensors: a.b.',
      ', ….',
    ]);
  });

  test('that holds two models is refused with names of both', () => {
    const header = Object.fromEntries(
      ['ema.vision_model.a', 'ema.vision_model.b', 'ema.vision_model.c', 'model.vision_model.a'].map((name, index) => [
        name,
        { dtype: 'U8', shape: [1], data_offsets: [index, index + 1] },
      ]),
    );
    const folder = temporaryFolder({ 'model.safetensors': safetensorsBytes({ header, dataBytes: 4 }) });
    expectCheckpointError(() => findTensor(openWeights(folder), ['wanted'], [1]), 'CHECKPOINT_TENSOR_MISSING', [
      'its weights are 4 tensors: ema.vision_model.a, model.vision_model.a, ema.vision_model.b, ….',
    ]);
  });

  test.each([
    'base_model.model.text_decoder.bert.query.lora_A.default.weight',
    'text_decoder.bert.query.lora_B.weight',
    'text_decoder.embeddings.lora_embedding_A.default',
  ])('with a layer of LoRA that is not merged is refused: %s', (name) => {
    const header = { [name]: { dtype: 'U8', shape: [1], data_offsets: [0, 1] } };
    const folder = temporaryFolder({ 'model.safetensors': safetensorsBytes({ header, dataBytes: 1 }) });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      `tensor ${name}`,
      'Save model.merge_and_unload() instead.',
    ]);
  });
});
