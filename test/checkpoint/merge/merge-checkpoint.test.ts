import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CheckpointErrorCode } from '../../../checkpoint/errors.ts';
import { mergeCheckpoint } from '../../../checkpoint/merge/merge-checkpoint.ts';
import { readFloats } from '../../../checkpoint/new-checkpoint/float-tensor.ts';
import { readSafetensorsHeader, type TensorRegion } from '../../../checkpoint/weights/safetensors.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { fixtures } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { torchArchivePath } from '../../support/torch-archive-file.ts';

/** Adapters that PEFT saved, and what it makes of them: test/fixtures/make_adapters.py. */

const adapters = `${fixtures}adapters/`;
const { bases } = JSON.parse(readFileSync(`${adapters}index.json`, 'utf8')) as {
  readonly bases: Readonly<Record<string, string>>;
};

const HEAD = 'text_decoder.cls.predictions.decoder.weight';
const HEAD_BIAS = 'text_decoder.cls.predictions.decoder.bias';
/** The tensor of the base that an untied one begins as. */
const twins: Readonly<Record<string, string>> = {
  [HEAD]: 'text_decoder.bert.embeddings.word_embeddings.weight',
  [HEAD_BIAS]: 'text_decoder.cls.predictions.bias',
};
/** Tensors that PEFT unties, because `modules_to_save` copies modules. */
const untiedNames: Readonly<Record<string, readonly string[]>> = {
  'saved-head': [HEAD_BIAS, HEAD],
  'saved-embeddings': [HEAD],
  'tied-embeddings': [HEAD],
};

/** PEFT rounds the product to the base's dtype before it adds it, and here the sum is rounded once. */
const relativeTolerances: Readonly<Record<string, number>> = { F32: 2e-6, F16: 2 ** -9, BF16: 2 ** -6 };

function bytesOf({ path, offsetBytes, lengthBytes }: TensorRegion): Buffer {
  return readFileSync(path).subarray(offsetBytes, offsetBytes + lengthBytes);
}

/** The largest difference, as a part of the largest value. */
function relativeDifference(one: Float32Array, other: Float32Array): number {
  let [difference, size] = [0, 0];
  for (const [index, value] of one.entries()) {
    difference = Math.max(difference, Math.abs(value - (other[index] ?? Number.NaN)));
    size = Math.max(size, Math.abs(value));
  }
  return difference / size;
}

/** The tensors that PEFT changed, and those of the merged folder. All others must be the base's, byte for byte. */
function expectMerged(merged: string, base: string, name: string): void {
  const wanted = new Map(
    readSafetensorsHeader(`${adapters}${name}/merged.safetensors`).map((each) => [each.name, each]),
  );
  const { regions } = openWeights(merged);
  const before = openWeights(base).regions;
  expect([...regions.keys()].slice(0, before.size)).toEqual([...before.keys()]);
  const untied = [...regions.keys()].slice(before.size);
  let changedCount = 0;
  for (const [tensor, region] of regions) {
    const old = before.get(tensor) ?? before.get(twins[tensor] ?? '');
    const golden = wanted.get(tensor);
    if (old === undefined) throw new Error(`Expected ${tensor} in the base.`);
    expect({ tensor, dtype: region.dtype, shape: region.shape }).toEqual({
      tensor,
      dtype: old.dtype,
      shape: old.shape,
    });
    if (golden === undefined) {
      expect(bytesOf(region).equals(bytesOf(old)), tensor).toBe(true);
      continue;
    }
    changedCount += 1;
    expect(relativeDifference(readFloats(region), readFloats(golden)), tensor).toBeLessThan(
      relativeTolerances[region.dtype] ?? 0,
    );
  }
  expect(changedCount).toBeGreaterThan(1);
  expect(untied).toEqual(untiedNames[name] ?? []);
  const unstored = [...wanted.keys()].filter((tensor) => !regions.has(tensor));
  for (const twin of unstored)
    expect(twin).toMatch(/cls\.predictions\.(decoder\.)?(weight|bias)$|word_embeddings\.weight$/);
}

function checkpointOf(name: string): string {
  return `${fixtures}checkpoints/${bases[name]}`;
}

/** A copy of an adapter with other values in its adapter_config.json. */
function changedAdapter(name: string, values: object): string {
  const folder = join(temporaryFolder(), 'adapter');
  cpSync(`${adapters}${name}`, folder, { recursive: true });
  const path = join(folder, 'adapter_config.json');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...values }));
  return folder;
}

/** The merge must fail with this code and these parts, and leave nothing. */
async function expectRefused(
  adapter: string,
  base: string,
  code: CheckpointErrorCode,
  parts: readonly string[],
): Promise<void> {
  const place = temporaryFolder();
  const failed = await mergeCheckpoint(adapter, base, join(place, 'merged')).catch((error: unknown) => error);
  expect(failed).toMatchObject({ code });
  for (const part of parts) expect(String(failed)).toContain(part);
  expect(readdirSync(place)).toEqual([]);
}

describe('an adapter and its base', () => {
  test.each(Object.keys(bases))('%s become what PEFT makes of them', async (name) => {
    const target = join(temporaryFolder(), 'merged');
    const result = await mergeCheckpoint(`${adapters}${name}`, checkpointOf(name), target);
    expect(result.moduleCount).toBeGreaterThan(1);
    expectMerged(target, checkpointOf(name), name);
    const config = readFileSync(join(checkpointOf(name), 'config.json'));
    expect(readFileSync(join(target, 'config.json')).equals(config)).toBe(true);
    expect(existsSync(join(target, 'preprocessor_config.json'))).toBe(true);
  });

  test.each([
    ['plain', 'narrow-vision'],
    ['tied-head', 'narrow-vision'],
    ['float16-shards', 'sharded-float16'],
    ['bfloat16', 'untied-bfloat16'],
    ['bfloat16', 'original-names'],
  ])('%s on a base that torch saved as %s', async (name, archive) => {
    const base = join(temporaryFolder(), 'base');
    cpSync(checkpointOf(name), base, { recursive: true });
    for (const file of readdirSync(base)) if (file.startsWith('model')) rmSync(join(base, file));
    cpSync(dirname(torchArchivePath(`${archive}/x`)), base, { recursive: true });
    const target = join(temporaryFolder(), 'merged');
    await mergeCheckpoint(`${adapters}${name}`, base, target);
    expectMerged(target, base, name);
  });

  test('report progress to the end', async () => {
    const parts: number[] = [];
    const onProgress = (written: number, total: number) => parts.push(written / total);
    await mergeCheckpoint(`${adapters}plain`, checkpointOf('plain'), join(temporaryFolder(), 'merged'), { onProgress });
    expect(parts.length).toBeGreaterThan(50);
    expect(parts.at(-1)).toBe(1);
  });

  test('leave nothing where a signal ends them', async () => {
    const place = temporaryFolder();
    const controller = new AbortController();
    const merging = mergeCheckpoint(`${adapters}plain`, checkpointOf('plain'), join(place, 'merged'), {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    });
    await expect(merging).rejects.toThrow('enough');
    expect(readdirSync(place)).toEqual([]);
  });
});

describe('what cannot be merged is refused by name', () => {
  test.each([
    [{ peft_type: 'IA3' }, 'peft_type to be "LORA", got "IA3"'],
    [{ peft_type: 'ADALORA' }, 'got "ADALORA"'],
    [{ peft_type: undefined }, 'peft_type'],
    [{ init_lora_weights: 'pissa' }, 'init_lora_weights that leave the base as it was'],
    [{ init_lora_weights: 'olora' }, 'got "olora"'],
    [{ trainable_token_indices: [3] }, 'expected trainable_token_indices to be off'],
    [{ target_parameters: ['x.weight'] }, 'target_parameters to be off'],
    [{ layer_replication: [[0, 2]] }, 'layer_replication'],
    [{ use_qalora: true }, 'use_qalora'],
    [{ option_of_tomorrow: 1 }, 'option_of_tomorrow to be off, because such adapters cannot be merged here, got 1'],
    [{ lora_alpha: 'many' }, 'lora_alpha to be a number'],
    [{ alpha_pattern: { query: 'x' } }, 'alpha_pattern: expected query to be a number'],
    [{ alpha_pattern: { '(a+)+': 1 } }, 'names, or short regular expressions that repeat no group'],
    [{ alpha_pattern: { ['.*'.repeat(4)]: 1 } }, 'repeat no group'],
    [{ alpha_pattern: { '(': 1 } }, 'names or regular expressions'],
    [
      { alpha_pattern: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`layer.*${index}`, 1])) },
      'names, with at most 16 that repeat something, got 17',
    ],
  ])('adapter_config.json with %j', async (values, problem) => {
    const adapter = changedAdapter('plain', values);
    const parts = [join(adapter, 'adapter_config.json'), problem];
    await expectRefused(adapter, checkpointOf('plain'), 'CHECKPOINT_CONFIG_INVALID', parts);
  });

  test('use_dora without the lengths of DoRA', async () => {
    const adapter = changedAdapter('plain', { use_dora: true });
    await expectRefused(adapter, checkpointOf('plain'), 'CHECKPOINT_WEIGHTS_INVALID', ['lora_magnitude_vector of ']);
  });

  test('a name that is so long that patterns would match it for ever', async () => {
    const adapter = changedAdapter('plain', { alpha_pattern: { '.*.*.*b': 1 } });
    const file = join(adapter, 'adapter_model.safetensors');
    const bytes = readFileSync(file);
    const end = 8 + Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.toString('utf8', 8, end));
    const name = Object.keys(header).find((key) => key.endsWith('.lora_A.weight')) ?? '';
    const long = Object.fromEntries(
      Object.entries(header).map(([key, value]) => [key.replace(name.slice(0, -14), 'a.'.repeat(10_000)), value]),
    );
    const text = Buffer.from(JSON.stringify(long));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    writeFileSync(file, Buffer.concat([length, text, bytes.subarray(end)]));
    const parts = ['names of at most 256 characters, got 20014'];
    await expectRefused(adapter, checkpointOf('plain'), 'CHECKPOINT_WEIGHTS_INVALID', parts);
  });

  test('a folder that is no adapter', async () => {
    const folder = temporaryFolder();
    await expectRefused(folder, checkpointOf('plain'), 'CHECKPOINT_CONFIG_INVALID', [folder, 'adapter_config.json']);
  });

  test('an adapter without weights', async () => {
    const adapter = changedAdapter('plain', {});
    rmSync(join(adapter, 'adapter_model.safetensors'));
    const parts = ['adapter_model.safetensors or adapter_model.bin, got none'];
    await expectRefused(adapter, checkpointOf('plain'), 'CHECKPOINT_WEIGHTS_INVALID', parts);
  });

  test('another base, by a tensor that it has not', async () => {
    const parts = ['expected tensors of the base, got base_model.model.', 'which it has not'];
    await expectRefused(`${adapters}plain`, checkpointOf('clip'), 'CHECKPOINT_TENSOR_MISSING', parts);
  });

  test('a base of another width, by the shapes', async () => {
    const parts = ['.lora_A.weight: expected matrices that fit ', 'got A [2, 64] and B '];
    await expectRefused(`${adapters}decoder-alone`, checkpointOf('answers'), 'CHECKPOINT_WEIGHTS_INVALID', parts);
  });

  test('a base that is an adapter itself', async () => {
    const base = `${adapters}plain`;
    await expectRefused(base, base, 'CHECKPOINT_CONFIG_INVALID', ['got a LoRA adapter of tests/narrow-vision; "blip-']);
  });

  test('an alpha with which weights overflow', async () => {
    const adapter = changedAdapter('plain', { lora_alpha: 1e300 });
    await expectRefused(adapter, checkpointOf('plain'), 'CHECKPOINT_WEIGHTS_INVALID', [
      'finite weights after the merge',
    ]);
  });
});
