import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type TensorToWrite, writeSafetensors } from '../../checkpoint/new-checkpoint/write-safetensors.ts';
import { stepsOf } from '../../checkpoint/quantize/calibration.ts';
import { blockShape, quantizeBlocks } from '../../checkpoint/quantize/quantize-blocks.ts';
import { quantizeMatrix } from '../../checkpoint/quantize/quantize-matrix.ts';
import { openWeights } from '../../checkpoint/weights/weights.ts';
import { linear, linearPart } from '../../models/layers.ts';
import { child, rootModule } from '../../models/module.ts';
import { addInput, addOutput, createGraph } from '../../onnx/graph.ts';
import { createSession } from '../../pipeline/sessions/runtime.ts';
import { float32Data } from '../../pipeline/sessions/tensors.ts';
import { expectClose } from '../support/close-to.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { expectCheckpointError } from '../support/thrown.ts';

/** Linears over int8 weights, against the same arithmetic in float64. */

const INPUTS = 67;
const OUTPUTS = 36;

const wave = (length: number, frequency: number) =>
  Float32Array.from({ length }, (_, index) => Math.sin(index * frequency));
const weight = wave(INPUTS * OUTPUTS, 1.3);
const bias = wave(OUTPUTS, 0.7);

const tensor = (
  name: string,
  dtype: 'F32' | 'I8' | 'U8',
  shape: readonly number[],
  data: Float32Array | Int8Array | Uint8Array,
): TensorToWrite => {
  const bytes = new Uint8Array(data.buffer);
  return { name, dtype, shape, lengthBytes: bytes.length, read: () => bytes };
};

/** A checkpoint of one Linear in `partCount` parts. */
async function weightsOf(partCount: number) {
  const { values, scale } = quantizeMatrix({ values: weight, outputSize: OUTPUTS, inputSize: INPUTS }, partCount);
  const folder = temporaryFolder();
  await writeSafetensors(join(folder, 'model.safetensors'), [
    tensor('layer.weight_scale', 'F32', [OUTPUTS], scale),
    tensor('layer.weight_quantized', 'I8', [partCount, INPUTS, OUTPUTS / partCount], values),
    tensor('layer.bias', 'F32', [OUTPUTS], bias),
    tensor('float.weight_quantized', 'F32', [1, 1, 1], Float32Array.of(1)),
  ]);
  return { weights: openWeights(folder), values, scale };
}

/** x [rows, INPUTS] → the outputs of all parts, [rows, OUTPUTS / parts] each. */
async function compute(x: Float32Array, weights: ReturnType<typeof openWeights>, partCount: number) {
  const graph = createGraph('linear');
  const input = addInput(graph, 'x', 'float32', ['rows', INPUTS]);
  const layer = child(rootModule(graph, weights), 'layer');
  for (let index = 0; index < partCount; index += 1) {
    const part = { index, count: partCount };
    const output =
      partCount === 1
        ? linear(layer, input, INPUTS, OUTPUTS)
        : linearPart(layer, input, INPUTS, OUTPUTS / partCount, part);
    addOutput(graph, `part_${index}`, output);
  }
  const session = await createSession(graph, {
    executionProvider: 'cpu',
    threadCount: 2,
    dataFolder: weights.dataFolder,
    prepacksWeights: true,
  });
  const outputs = await session.run({ x: { data: x, shape: [x.length / INPUTS, INPUTS] } });
  await session.release();
  return Array.from({ length: partCount }, (_, index) => Array.from(float32Data(outputs, `part_${index}`)));
}

/** One row by hand, from the quantized weight; rounds to even as QuantizeLinear does. */
function byHand(row: Float32Array, values: Int8Array, scale: Float32Array, partCount: number): readonly number[] {
  const magnitude = Math.max(...row.map(Math.abs), Math.fround(1e-30));
  const step = Math.fround(1 / 127);
  const steps = Array.from(row, (value) => roundToEven(Math.fround(Math.fround(value / magnitude) / step)));
  const partSize = OUTPUTS / partCount;
  return Array.from({ length: OUTPUTS }, (_, output) => {
    const start = Math.floor(output / partSize) * partSize * INPUTS + (output % partSize);
    const product = steps.reduce((sum, value, input) => sum + value * (values[start + input * partSize] ?? 0), 0);
    return product * step * magnitude * (scale[output] ?? 0) + (bias[output] ?? 0);
  });
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Rows of very different sizes, one of them zeros. */
const rows = [
  wave(INPUTS, 0.9),
  wave(INPUTS, 0.31).map((value) => value * 1000),
  new Float32Array(INPUTS),
  wave(INPUTS, 2.2).map((value) => value / 1000),
];
const batch = Float32Array.from(rows.flatMap((row) => [...row]));

describe.each([1, 3])('a Linear in %d parts', (partCount) => {
  test('is an exact product of integers', async () => {
    const { weights, values, scale } = await weightsOf(partCount);
    const parts = await compute(batch, weights, partCount);
    const partSize = OUTPUTS / partCount;
    for (const [index, row] of rows.entries()) {
      const got = parts.flatMap((part) => part.slice(index * partSize, (index + 1) * partSize));
      // The rest is the rounding of three factors and a sum in float32.
      expectClose(got, byHand(row, values, scale, partCount), { absolute: 1e-6, relative: 1e-6 });
    }
  });

  test('gives a row bit for bit what it gives it alone', async () => {
    const { weights } = await weightsOf(partCount);
    const together = await compute(batch, weights, partCount);
    const partSize = OUTPUTS / partCount;
    for (const [index, row] of rows.entries()) {
      const alone = await compute(row, weights, partCount);
      expect(alone).toEqual(together.map((part) => part.slice(index * partSize, (index + 1) * partSize)));
    }
  });
});

test('is as near to the product in float32 as 8 bits of both factors can be', async () => {
  const { weights } = await weightsOf(1);
  const [row] = rows;
  const [got = []] = await compute(batch, weights, 1);
  const exact = Array.from({ length: OUTPUTS }, (_, output) =>
    Array.from(row ?? []).reduce(
      (sum, value, input) => sum + value * (weight[output * INPUTS + input] ?? 0),
      bias[output] ?? 0,
    ),
  );
  // Half a step of each factor, at worst in all products at once: 67 * (1/254 + 1/128).
  expectClose(got.slice(0, OUTPUTS), exact, { absolute: 0.79 });
});

describe('a Linear with fixed steps', () => {
  const steps = { smallest: -1, largest: 0.5 };
  const { scale: step, zeroPoint } = stepsOf(steps);

  async function calibratedWeights() {
    const { values, scale } = quantizeMatrix({ values: weight, outputSize: OUTPUTS, inputSize: INPUTS }, 1);
    const folder = temporaryFolder();
    await writeSafetensors(join(folder, 'model.safetensors'), [
      tensor('layer.weight_scale', 'F32', [OUTPUTS], scale),
      tensor('layer.input_scale', 'F32', [], Float32Array.of(step)),
      tensor('layer.bias', 'F32', [OUTPUTS], bias),
      tensor('layer.weight_quantized', 'I8', [1, INPUTS, OUTPUTS], values),
      tensor('layer.input_zero_point', 'U8', [], Uint8Array.of(zeroPoint)),
    ]);
    return { weights: openWeights(folder), values, scale };
  }

  test('is an exact product of integers, of values that are cut off at the ends of the range', async () => {
    const { weights, values, scale } = await calibratedWeights();
    const [got = []] = await compute(batch, weights, 1);
    const expected = rows.flatMap((row) => {
      const bytes = Array.from(row, (value) =>
        Math.min(255, Math.max(0, roundToEven(Math.fround(value / step)) + zeroPoint)),
      );
      return Array.from({ length: OUTPUTS }, (_, output) => {
        const product = bytes.reduce(
          (sum, byte, input) => sum + (byte - zeroPoint) * (values[input * OUTPUTS + output] ?? 0),
          0,
        );
        return product * step * (scale[output] ?? 0) + (bias[output] ?? 0);
      });
    });
    expectClose(got, expected, { absolute: 1e-5, relative: 1e-5 });
  });

  test('gives a row bit for bit what it gives it alone', async () => {
    const { weights } = await calibratedWeights();
    const [together = []] = await compute(batch, weights, 1);
    for (const [index, row] of rows.entries())
      expect(await compute(row, weights, 1)).toEqual([together.slice(index * OUTPUTS, (index + 1) * OUTPUTS)]);
  });

  test('is two nodes', async () => {
    const { weights } = await calibratedWeights();
    const { op } = rootModule(createGraph('fixed'), weights);
    const x = addInput(op.graph, 'x', 'float32', ['rows', INPUTS]);
    linear(child(rootModule(op.graph, weights), 'layer'), x, INPUTS, OUTPUTS);
    expect(op.graph.nodes.map(({ operator }) => operator)).toEqual(['QuantizeLinear', 'MatMulIntegerToFloat']);
  });
});

describe('a Linear in blocks', () => {
  async function blockWeights() {
    const blocks = quantizeBlocks({ values: weight, outputSize: OUTPUTS, inputSize: INPUTS });
    const shape = blockShape(OUTPUTS, INPUTS);
    const folder = temporaryFolder();
    await writeSafetensors(join(folder, 'model.safetensors'), [
      tensor('layer.weight_block_scale', 'F32', shape.slice(0, 2), blocks.scale),
      tensor('layer.bias', 'F32', [OUTPUTS], bias),
      tensor('layer.weight_blocks', 'U8', shape, blocks.values),
      tensor('float.weight_blocks', 'F32', [1, 1, 16], new Float32Array(16)),
    ]);
    return { weights: openWeights(folder), blocks, shape };
  }

  /** One row by hand: each block of it is rounded to 127 steps on both sides of zero. */
  function blocksByHand(
    row: Float32Array,
    { values, scale }: ReturnType<typeof quantizeBlocks>,
    [, count, size]: readonly [number, number, number],
  ): readonly number[] {
    return Array.from({ length: OUTPUTS }, (_, output) => {
      let sum = bias[output] ?? 0;
      for (let block = 0; block < count; block += 1) {
        const part = row.subarray(block * size, (block + 1) * size);
        const step = Math.max(...part.map(Math.abs)) / 127;
        const start = (output * count + block) * size;
        const product = Array.from(part).reduce(
          (total, value, input) =>
            total + (step === 0 ? 0 : roundToEven(value / step)) * ((values[start + input] ?? 0) - 128),
          0,
        );
        sum += product * step * (scale[output * count + block] ?? 0);
      }
      return sum;
    });
  }

  test('is exact but for the rounding of rows and weights', async () => {
    const { weights, blocks, shape } = await blockWeights();
    const [got = []] = await compute(batch, weights, 1);
    for (const [index, row] of rows.entries()) {
      const expected = blocksByHand(row, blocks, shape);
      const largest = Math.max(...expected.map(Math.abs));
      // A value of a row may be rounded to the other side where it lies between two steps.
      expectClose(got.slice(index * OUTPUTS, (index + 1) * OUTPUTS), expected, { absolute: largest * 0.01 });
    }
  });

  test('gives a row what it gives it alone, but for the order of the sums', async () => {
    const { weights } = await blockWeights();
    const [together = []] = await compute(batch, weights, 1);
    for (const [index, row] of rows.entries()) {
      const [alone = []] = await compute(row, weights, 1);
      const largest = Math.max(...alone.map(Math.abs));
      const expected = together.slice(index * OUTPUTS, (index + 1) * OUTPUTS);
      expectClose(alone, expected, { absolute: largest * 1e-6 });
    }
  });

  test('loses nothing of extreme weights, on a processor of any kind', async () => {
    const folder = temporaryFolder();
    const bytes = Uint8Array.from({ length: 4 * 64 }, (_, place) => (Math.floor(place / 64) % 2 === 0 ? 255 : 1));
    await writeSafetensors(join(folder, 'model.safetensors'), [
      tensor('layer.weight_block_scale', 'F32', [4, 1], Float32Array.of(1, 1, 1, 1)),
      tensor('layer.bias', 'F32', [4], new Float32Array(4)),
      tensor('layer.weight_blocks', 'U8', [4, 1, 64], bytes),
    ]);
    const graph = createGraph('extreme');
    const weights = openWeights(folder);
    const x = addInput(graph, 'x', 'float32', ['rows', 64]);
    addOutput(graph, 'y', linear(child(rootModule(graph, weights), 'layer'), x, 64, 4));
    const options = { executionProvider: 'cpu', threadCount: 1, dataFolder: weights.dataFolder } as const;
    const session = await createSession(graph, { ...options, prepacksWeights: true });
    const { y } = await session.run({ x: { data: new Float32Array(64).fill(127), shape: [1, 64] } });
    await session.release();
    const sum = 127 * 127 * 64;
    expect([...(y?.data ?? [])]).toEqual([sum, -sum, sum, -sum]);
  });

  test('of another dtype is refused by its name', async () => {
    const { weights } = await blockWeights();
    const module = rootModule(createGraph('refused'), weights);
    const x = addInput(module.op.graph, 'x', 'float32', ['rows', 1]);
    expectCheckpointError(() => linear(child(module, 'float'), x, 1, 1), 'CHECKPOINT_TENSOR_MISMATCH', [
      'tensor float.weight_blocks: expected dtype U8, got F32.',
    ]);
  });
});

describe('rows that are known to lie above a number', () => {
  const above = [
    Float32Array.from({ length: INPUTS }, (_, index) => Math.max(-0.17, Math.sin(index) * 9)),
    Float32Array.from({ length: INPUTS }, (_, index) => (index % 2 === 0 ? -0.17 : 0.01)),
    new Float32Array(INPUTS),
  ];

  async function computeAbove(x: Float32Array, lowest: number | undefined) {
    const { weights } = await weightsOf(1);
    const graph = createGraph('above');
    const input = addInput(graph, 'x', 'float32', ['rows', INPUTS]);
    addOutput(graph, 'y', linear(child(rootModule(graph, weights), 'layer'), input, INPUTS, OUTPUTS, lowest));
    const options = { executionProvider: 'cpu', threadCount: 1, dataFolder: weights.dataFolder } as const;
    const session = await createSession(graph, { ...options, prepacksWeights: true });
    const outputs = await session.run({ x: { data: x, shape: [x.length / INPUTS, INPUTS] } });
    await session.release();
    return Array.from(float32Data(outputs, 'y'));
  }

  const together = Float32Array.from(above.flatMap((row) => [...row]));

  test('are no less exact than in steps of both signs, and finer where they are large', async () => {
    const { values, scale } = await weightsOf(1);
    const exact = (row: Float32Array) =>
      Array.from({ length: OUTPUTS }, (_, output) =>
        Array.from(row).reduce(
          (sum, value, input) => sum + value * (values[input * OUTPUTS + output] ?? 0) * (scale[output] ?? 0),
          bias[output] ?? 0,
        ),
      );
    const [known, unknown] = [await computeAbove(together, -0.1701), await computeAbove(together, undefined)];
    const errorOf = (got: readonly number[]) =>
      Math.hypot(...exact(above[0] ?? together).map((value, output) => value - (got[output] ?? 0)));
    expect(errorOf(known)).toBeLessThan(errorOf(unknown) * 0.8);
    for (const [index, row] of above.entries())
      expectClose(known.slice(index * OUTPUTS, (index + 1) * OUTPUTS), exact(row), { absolute: 0.2 });
  });

  test('are each computed as alone', async () => {
    const all = await computeAbove(together, -0.1701);
    for (const [index, row] of above.entries())
      expect(await computeAbove(row, -0.1701)).toEqual(all.slice(index * OUTPUTS, (index + 1) * OUTPUTS));
  });
});

test('of rows in float16 is refused, because its model computes in float32', async () => {
  const { weights } = await weightsOf(1);
  const module = rootModule(createGraph('refused'), weights);
  const x = addInput(module.op.graph, 'x', 'float16', ['rows', INPUTS]);
  expect(() => linear(child(module, 'layer'), x, INPUTS, OUTPUTS)).toThrow(
    new RangeError('layer/MatMulIntegerToFloat: expected float32, got float16 [rows, 67].'),
  );
});

test('of another dtype, or in other parts, is refused by its name', async () => {
  const { weights } = await weightsOf(1);
  const module = rootModule(createGraph('refused'), weights);
  const x = addInput(module.op.graph, 'x', 'float32', ['rows', 1]);
  expectCheckpointError(() => linear(child(module, 'float'), x, 1, 1), 'CHECKPOINT_TENSOR_MISMATCH', [
    'tensor float.weight_quantized: expected dtype I8, got F32.',
  ]);
  const part = { index: 0, count: 3 };
  expectCheckpointError(
    () => linearPart(child(module, 'layer'), x, INPUTS, OUTPUTS / 3, part),
    'CHECKPOINT_TENSOR_MISMATCH',
    ['tensor layer.weight_quantized: expected shape [3, 67, 12], got [1, 67, 36].'],
  );
});
