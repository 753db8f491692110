import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { readFloats } from '../../../checkpoint/new-checkpoint/float-tensor.ts';
import { blockShape } from '../../../checkpoint/quantize/quantize-blocks.ts';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import { languageModelHead } from '../../../checkpoint/weights/int8-format.ts';
import type { TensorRegion } from '../../../checkpoint/weights/safetensors.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { loadSession } from '../../../pipeline/sessions/load-session.ts';
import {
  answerCheckpointNames,
  checkpointFolder,
  checkpointNames,
  clipCheckpointNames,
  retrievalCheckpointNames,
} from '../../support/goldens.ts';
import { safetensorsBytes } from '../../support/safetensors-file.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const names = [...checkpointNames, ...answerCheckpointNames, ...retrievalCheckpointNames, ...clipCheckpointNames];

function regionOf(regions: ReadonlyMap<string, TensorRegion>, name: string): TensorRegion {
  const region = regions.get(name);
  if (region === undefined) throw new Error(`Expected a tensor ${name}, got none.`);
  return region;
}

function bytesOf({ path, offsetBytes, lengthBytes }: TensorRegion): Buffer {
  return readFileSync(path).subarray(offsetBytes, offsetBytes + lengthBytes);
}

/** A checkpoint of floats whose config.json says how it is quantized. */
function folderWith(quantization: unknown): string {
  const folder = temporaryFolder();
  cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, quantization_config: quantization }));
  return folder;
}

/** In steps. A weight that was cut off has the largest value. */
function differenceOf(value: number, step: number, weight: number, largest: number): number {
  const isCutOff = Math.abs(value) === largest && Math.sign(weight) === Math.sign(value);
  return isCutOff && Math.abs(weight) > largest * step ? 0 : Math.abs(value * step - weight) / step;
}

/** Every int8 weight, in its step, against the weight that it was made of. */
function expectWithinHalfAStep(quantized: TensorRegion, scale: TensorRegion, source: TensorRegion): void {
  const [, inputs = 0, partOutputs = 0] = quantized.shape;
  const [values, steps, weights] = [new Int8Array(bytesOf(quantized)), readFloats(scale), readFloats(source)];
  const differences = Array.from(weights, (weight, place) => {
    const [output, input] = [Math.floor(place / inputs), place % inputs];
    const part = Math.floor(output / partOutputs);
    const value = values[(part * inputs + input) * partOutputs + (output % partOutputs)] ?? Number.NaN;
    const step = steps[output] ?? Number.NaN;
    return differenceOf(value, step, weight, 64);
  });
  expect(differences.findIndex((difference) => !(difference <= 0.5001))).toBe(-1);
}

/** Every weight in blocks, in the step of its block, against the weight that it was made of. */
function expectBlocksWithinHalfAStep(blocks: TensorRegion, scale: TensorRegion, source: TensorRegion): void {
  const [, blockCount = 0, blockSize = 0] = blocks.shape;
  const [, inputs = 0] = source.shape;
  const [values, steps, weights] = [bytesOf(blocks), readFloats(scale), readFloats(source)];
  const differences = Array.from(weights, (weight, place) => {
    const [output, input] = [Math.floor(place / inputs), place % inputs];
    const block = output * blockCount + Math.floor(input / blockSize);
    const value = (values[block * blockSize + (input % blockSize)] ?? Number.NaN) - 128;
    const step = steps[block] ?? Number.NaN;
    return differenceOf(value, step, weight, 127);
  });
  expect(differences.findIndex((difference) => !(difference <= 0.5001))).toBe(-1);
}

describe.each(names)('%s', (name) => {
  test('becomes int8 in the matrices of its layers, and is as it was in all else', async () => {
    const source = checkpointFolder(name);
    const target = join(temporaryFolder(), 'deep', 'int8');
    const progress: number[] = [];
    const made = await quantizeCheckpoint(source, target, {
      onProgress: (writtenBytes, totalBytes) => progress.push(writtenBytes / totalBytes),
    });
    expect(openCheckpoint(target)).toEqual({ ...openCheckpoint(source), folder: target, quantizedTo: 'int8' });
    const [before, after] = [openWeights(source).regions, openWeights(target).regions];
    const products = [...after.keys()].filter((tensor) => tensor.endsWith('.weight_quantized'));
    const blocks = [...after.keys()].filter((tensor) => tensor.endsWith('.weight_blocks'));
    expect(products.length + blocks.length).toBe(made.matrixCount);
    expect(made.matrixCount).toBeGreaterThan(10);
    for (const tensor of products) {
      const module = tensor.slice(0, -'.weight_quantized'.length);
      const [outputs = 0, inputs = 0] = before.get(`${module}.weight`)?.shape ?? [];
      const parts = module.endsWith('qkv') ? 3 : 1;
      expect(after.get(tensor)).toMatchObject({ dtype: 'I8', shape: [parts, inputs, outputs / parts] });
      expect(after.get(`${module}.weight_scale`)).toMatchObject({ dtype: 'F32', shape: [outputs] });
      expect(module).toMatch(/\.layers?\.\d+\./);
      const source = regionOf(before, `${module}.weight`);
      expectWithinHalfAStep(regionOf(after, tensor), regionOf(after, `${module}.weight_scale`), source);
    }
    for (const tensor of blocks) {
      const module = tensor.slice(0, -'.weight_blocks'.length);
      const source = before.get(`${module}.weight`) ?? regionOf(before, languageModelHead.embeddings[0]);
      const [outputs = 0, inputs = 0] = source.shape;
      const shape = blockShape(outputs, inputs);
      expect(after.get(tensor)).toMatchObject({ dtype: 'U8', shape });
      expect(after.get(`${module}.weight_block_scale`)).toMatchObject({ dtype: 'F32', shape: shape.slice(0, 2) });
      expect(module).toMatch(/^text_decoder\./);
      expect(module).not.toMatch(/crossattention\.self\.(?:key|value)$/);
      expectBlocksWithinHalfAStep(regionOf(after, tensor), regionOf(after, `${module}.weight_block_scale`), source);
    }
    const others = [...before].filter(([tensor]) => after.has(tensor));
    const replaced = [...before.keys()].filter((tensor) => !after.has(tensor));
    const made8 = [...products, ...blocks].map((tensor) => tensor.replace(/_quantized$|_blocks$/, ''));
    expect(replaced.filter((tensor) => !made8.includes(tensor))).toEqual([]);
    expect(others.length + 2 * made.matrixCount).toBe(after.size);
    for (const [tensor, region] of others) {
      const copy = regionOf(after, tensor);
      expect(copy).toMatchObject({ dtype: region.dtype, shape: region.shape });
      expect(bytesOf(copy).equals(bytesOf(region))).toBe(true);
    }
    expect(progress.at(-1)).toBe(1);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(readdirSync(join(target, '..'))).toEqual(['int8']);
  });
});

describe('config.json', () => {
  const quantizationOf = (folder: string) =>
    (JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as { quantization_config: object })
      .quantization_config;

  test('says the version of the format, and how images are read', async () => {
    const target = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(checkpointFolder('narrow-vision'), target);
    const expected = { format: 'blip-handler-int8', version: 3, image_activations: 'steps by row' };
    expect(quantizationOf(target)).toEqual(expected);
    const calibrated = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(checkpointFolder('narrow-vision'), calibrated, {
      calibration: { inputs: [], pictureCount: 3 },
    });
    const fixed = { ...expected, image_activations: 'fixed steps', calibration_pictures: 3 };
    expect(quantizationOf(calibrated)).toEqual(fixed);
  });

  test.each([
    [{ format: 'blip-handler-int8' }, 'int8'],
    [{ format: 'blip-handler-int8', version: 1 }, 'int8'],
    [{ format: 'blip-handler-int8', version: 2 }, 'int8'],
    [{ format: 'blip-handler-int8', version: 3 }, 'int8'],
    [{ format: 'blip-handler-int8', version: 3, language_model_bits: 8 }, 'int8'],
    [{ format: 'blip-handler-int8', version: 3, language_model_bits: 4 }, 'int4'],
  ])('of a known version is read: %j', (quantization, precision) => {
    const folder = folderWith(quantization);
    expect(openCheckpoint(folder).quantizedTo).toBe(precision);
  });

  test('of a later version is refused', () => {
    const folder = folderWith({ format: 'blip-handler-int8', version: 4 });
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      'expected quantization_config.version to be at most 3 (quantize the checkpoint again, with this program)',
      'got 4.',
    ]);
  });
});

describe("a language model's head", () => {
  const head = `${languageModelHead.module}.weight`;
  const namesIn = async (source: string) => {
    const target = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(source, target);
    return [...openWeights(target).regions.keys()];
  };

  test('gets blocks beside the embeddings that it is tied to', async () => {
    const tied = checkpointNames.find((name) => !openWeights(checkpointFolder(name)).regions.has(head));
    const names = await namesIn(checkpointFolder(tied ?? 'narrow-vision'));
    expect(names).toContain(`${languageModelHead.module}.weight_blocks`);
    expect(names).toContain(languageModelHead.embeddings[0]);
  });

  test('keeps no floats where the embeddings have their own', async () => {
    const names = await namesIn(checkpointFolder('untied-bfloat16'));
    expect(names).toContain(`${languageModelHead.module}.weight_blocks`);
    expect(names).not.toContain(head);
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

  test('and served, in bits that nothing here writes', () => {
    const folder = folderWith({ format: 'blip-handler-int8', version: 3, language_model_bits: 3 });
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      'expected quantization_config.language_model_bits to be 8 or 4',
      'got 3.',
    ]);
  });

  test.each([
    [{ quant_method: 'bitsandbytes', load_in_8bit: true }, '{"quant_method":"bitsandbytes","load_in_8bit":true}'],
    [{ format: 'int-quantized' }, '{"format":"int-quantized"}'],
    ['awq', '"awq"'],
  ])('and served, when it is quantized in another way: %j', (quantization, got) => {
    const folder = folderWith(quantization);
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', [
      'expected quantization_config.format to be blip-handler-int8',
      `got ${got}.`,
    ]);
  });
});

describe('weights that cannot be', () => {
  const qkv = 'vision_model.encoder.layers.0.self_attn.qkv.weight';

  /** A checkpoint whose only weights are this matrix. */
  function checkpointOf(shape: readonly [number, number], values: Float32Array): string {
    const lengthBytes = values.byteLength;
    const header = safetensorsBytes({ header: { [qkv]: { dtype: 'F32', shape, data_offsets: [0, lengthBytes] } } });
    const config = readFileSync(join(checkpointFolder('narrow-vision'), 'config.json'));
    const weights = Buffer.concat([header, new Uint8Array(values.buffer)]);
    return temporaryFolder({ 'config.json': config, 'model.safetensors': weights });
  }

  test.each([
    ['not finite', [3, 2], [1, Number.NaN, 3, 4, 5, 6], 'CHECKPOINT_WEIGHTS_INVALID', 'finite weights, got NaN'],
    ['infinite', [3, 2], [1, 2, 3, 4, -1 / 0, 6], 'CHECKPOINT_WEIGHTS_INVALID', 'finite weights, got Infinity'],
    [
      'in unequal parts',
      [2, 3],
      [1, 2, 3, 4, 5, 6],
      'CHECKPOINT_TENSOR_MISMATCH',
      'rows that are a multiple of 3, got 2',
    ],
  ] as const)('%s', async (_what, shape, values, code, expected) => {
    const folder = checkpointOf(shape, Float32Array.from(values));
    await expect(quantizeCheckpoint(folder, join(temporaryFolder(), 'int8'))).rejects.toMatchObject({
      code,
      message: `${join(folder, 'model.safetensors')}: tensor ${qkv}: expected ${expected}.`,
    });
  });
});

describe('a config.json and weights that do not agree are not served', () => {
  const int8Config = { quantization_config: { format: 'blip-handler-int8' } };
  test.each([
    ['floats', 'int8', {}],
    ['int8', 'floats', int8Config],
  ] as const)('%s said, %s there', async (said, there, config) => {
    const [source, folder] = [checkpointFolder('narrow-vision'), join(temporaryFolder(), 'copy')];
    if (there === 'int8') await quantizeCheckpoint(source, folder);
    else cpSync(source, folder, { recursive: true });
    const own = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')) as object;
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...own, ...config }));
    await expect(
      loadSession(openCheckpoint(folder), { executionProvider: 'cpu', threadCount: 1 }),
    ).rejects.toMatchObject({
      code: 'CHECKPOINT_CONFIG_INVALID',
      message: `${folder}: expected weights of ${said}, as config.json says, got ${there}.`,
    });
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
