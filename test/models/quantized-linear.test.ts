import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type TensorToWrite, writeSafetensors } from '../../checkpoint/new-checkpoint/write-safetensors.ts';
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
  dtype: 'F32' | 'I8',
  shape: readonly number[],
  data: Float32Array | Int8Array,
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
