import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { quantizeCheckpoint } from '../../../checkpoint/int8/quantize-checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights.ts';
import {
  answerCheckpointNames,
  checkpointFolder,
  checkpointNames,
  clipCheckpointNames,
  retrievalCheckpointNames,
} from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const names = [...checkpointNames, ...answerCheckpointNames, ...retrievalCheckpointNames, ...clipCheckpointNames];

describe.each(names)('%s', (name) => {
  test('becomes int8 in the matrices of its layers, and is as it was in all else', async () => {
    const source = checkpointFolder(name);
    const target = join(temporaryFolder(), 'deep', 'int8');
    const progress: number[] = [];
    const made = await quantizeCheckpoint(source, target, {
      onProgress: (writtenBytes, totalBytes) => progress.push(writtenBytes / totalBytes),
    });
    expect(openCheckpoint(target)).toEqual({ ...openCheckpoint(source), folder: target, isInt8: true });
    const [before, after] = [openWeights(source).regions, openWeights(target).regions];
    const quantized = [...after.keys()].filter((tensor) => tensor.endsWith('.weight_quantized'));
    expect(quantized).toHaveLength(made.matrixCount);
    expect(made.matrixCount).toBeGreaterThan(10);
    for (const tensor of quantized) {
      const module = tensor.slice(0, -'.weight_quantized'.length);
      const [outputs = 0, inputs = 0] = before.get(`${module}.weight`)?.shape ?? [];
      const parts = module.endsWith('qkv') ? 3 : 1;
      expect(after.get(tensor)).toMatchObject({ dtype: 'I8', shape: [parts, inputs, outputs / parts] });
      expect(after.get(`${module}.weight_scale`)).toMatchObject({ dtype: 'F32', shape: [outputs] });
      expect(module).toMatch(/\.layers?\.\d+\./);
    }
    const others = [...before].filter(([tensor]) => !quantized.includes(`${tensor}_quantized`));
    expect(others.length + 2 * quantized.length).toBe(after.size);
    for (const [tensor, { dtype, shape }] of others) expect(after.get(tensor)).toMatchObject({ dtype, shape });
    expect(progress.at(-1)).toBe(1);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(readdirSync(join(target, '..'))).toEqual(['int8']);
  });
});

describe('is refused', () => {
  test('of what is int8 already', async () => {
    const target = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(checkpointFolder('narrow-vision'), target);
    await expect(quantizeCheckpoint(target, `${target}-again`)).rejects.toMatchObject({
      code: 'CHECKPOINT_CONFIG_INVALID',
      message: `${target}: expected a checkpoint of floating point weights, got one of int8.`,
    });
  });

  test.each([
    [{ quant_method: 'bitsandbytes', load_in_8bit: true }, '"bitsandbytes"'],
    [{ bits: 8 }, 'none'],
    ['awq', '"awq"'],
  ])('and served, when it is quantized in another way: %j', (quantization, got) => {
    const folder = temporaryFolder();
    cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object;
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, quantization_config: quantization }));
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      'expected quantization_config.quant_method to be blip-handler-int8',
      `got ${got}.`,
    ]);
  });
});

describe('leaves nothing behind', () => {
  test('when it is aborted', async () => {
    const folder = temporaryFolder();
    const controller = new AbortController();
    const quantizing = quantizeCheckpoint(checkpointFolder('narrow-vision'), join(folder, 'int8'), {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    });
    await expect(quantizing).rejects.toThrow('enough');
    expect(readdirSync(folder)).toEqual([]);
  });

  test('when the folder is taken meanwhile', async () => {
    const folder = temporaryFolder();
    const target = join(folder, 'int8');
    const quantizing = quantizeCheckpoint(checkpointFolder('narrow-vision'), target, {
      onProgress: () => {
        mkdirSync(target, { recursive: true });
        writeFileSync(join(target, 'mine'), '');
      },
    });
    await expect(quantizing).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    expect(readdirSync(folder)).toEqual(['int8']);
    expect(readdirSync(target)).toEqual(['mine']);
  });
});
