import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { readFloats } from '../../../checkpoint/new-checkpoint/float-tensor.ts';
import { copyIn16Bits } from '../../../checkpoint/quantize/copy-in-16-bits.ts';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import type { Dtype } from '../../../checkpoint/weights/safetensors.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { loadSession } from '../../../pipeline/sessions/load-session.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { safetensorsBytes } from '../../support/safetensors-file.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

function configOf(folder: string): Readonly<Record<string, unknown>> {
  return JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
}

/** A checkpoint with these tensors of one value each. */
function checkpointOf(tensors: readonly (readonly [name: string, dtype: Dtype, bytes: Uint8Array])[]): string {
  const folder = temporaryFolder();
  cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
  for (const file of readdirSync(folder)) if (file.includes('safetensors')) rmSync(join(folder, file));
  let end = 0;
  const header: Record<string, unknown> = {};
  for (const [name, dtype, bytes] of tensors) {
    header[name] = { dtype, shape: [1], data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  const all = [safetensorsBytes({ header }), ...tensors.map(([, , bytes]) => bytes)];
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat(all));
  return folder;
}

const float32 = (value: number) => new Uint8Array(Float32Array.of(value).buffer);

describe.each(['float16', 'bfloat16'] as const)('in %s', (precision) => {
  const dtype = precision === 'float16' ? 'F16' : 'BF16';

  test.each(['narrow-vision', precision === 'float16' ? 'untied-bfloat16' : 'sharded-float16'] as const)(
    '%s has half its bytes',
    async (name) => {
      const [source, target] = [checkpointFolder(name), join(temporaryFolder(), 'copy')];
      const { weightsBytes } = await copyIn16Bits(source, target, { precision });
      const [before, after] = [openWeights(source).regions, openWeights(target).regions];
      expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
      const steps = precision === 'float16' ? 2 ** -11 : 2 ** -8;
      let bytes = 0;
      for (const [tensor, region] of after) {
        const original = before.get(tensor);
        if (original === undefined) throw new Error(`Expected ${tensor} in both.`);
        bytes += region.lengthBytes;
        if (original.dtype.startsWith('I')) continue;
        expect(region.dtype).toBe(dtype);
        const values = readFloats(original);
        const far = readFloats(region).findIndex((value, place) => {
          const exact = values[place] ?? Number.NaN;
          return !(Math.abs(value - exact) <= Math.abs(exact) * steps + 2 ** -25);
        });
        expect(far, tensor).toBe(-1);
      }
      expect(bytes).toBe(weightsBytes);
      const { quantization_config: quantization, dtype: written } = configOf(target);
      expect([quantization, written]).toEqual([undefined, precision]);
      const session = await loadSession(openCheckpoint(target), { executionProvider: 'cpu', threadCount: 1 });
      await session.release();
    },
  );
});

describe('what transformers keeps in float32', () => {
  const kept = [
    'query_tokens',
    'qformer.encoder.layer.0.output_query.LayerNorm.weight',
    'language_model.encoder.block.3.layer.1.DenseReluDense.wo.weight',
  ];
  const others = ['language_projection.weight', 'language_model.encoder.block.3.layer.1.DenseReluDense.wi_0.weight'];

  test.each([
    ['float16', 'F32', 'F16'],
    ['bfloat16', 'BF16', 'BF16'],
  ] as const)('in %s is %s', async (precision, dtypeOfKept, dtype) => {
    const folder = checkpointOf([...kept, ...others].map((name) => [name, 'F32', float32(1.5)]));
    const target = join(temporaryFolder(), 'copy');
    await copyIn16Bits(folder, target, { precision });
    const { regions } = openWeights(target);
    expect(kept.map((name) => regions.get(name)?.dtype)).toEqual(kept.map(() => dtypeOfKept));
    expect(others.map((name) => regions.get(name)?.dtype)).toEqual(others.map(() => dtype));
  });
});

test('a key of transformers 4 keeps its name', async () => {
  const [folder, target] = [checkpointOf([['query_tokens', 'F32', float32(1)]]), join(temporaryFolder(), 'copy')];
  const { dtype: _, ...config } = configOf(folder);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, torch_dtype: 'float32' }));
  await copyIn16Bits(folder, target, { precision: 'bfloat16' });
  expect(configOf(target)).toEqual({ ...config, torch_dtype: 'bfloat16' });
});

describe('is refused', () => {
  test('of a weight that float16 cannot hold, and leaves nothing behind', async () => {
    const [folder, parent] = [checkpointOf([['language_model.x', 'F32', float32(70_000)]]), temporaryFolder()];
    await expect(copyIn16Bits(folder, join(parent, 'copy'), { precision: 'float16' })).rejects.toMatchObject({
      code: 'CHECKPOINT_WEIGHTS_INVALID',
      message:
        `${join(folder, 'model.safetensors')}: tensor language_model.x: expected weights of at most 65504, ` +
        'as float16 has, got 70000. A copy in bfloat16 holds it.',
    });
    expect(readdirSync(parent)).toEqual([]);
  });

  test('of what is int8', async () => {
    const target = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(checkpointFolder('narrow-vision'), target);
    await expect(copyIn16Bits(target, `${target}-copy`, { precision: 'float16' })).rejects.toMatchObject({
      code: 'CHECKPOINT_CONFIG_INVALID',
    });
  });
});
