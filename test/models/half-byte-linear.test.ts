import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type TensorToWrite, writeSafetensors } from '../../checkpoint/new-checkpoint/write-safetensors.ts';
import { blockTensors, halfByteTensors } from '../../checkpoint/quantize/quantized-tensors.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { linearWithoutBias } from '../../models/layers.ts';
import { child, rootModule } from '../../models/module.ts';
import { addInput, addOutput, createGraph } from '../../onnx/graph.ts';
import { createSession } from '../../pipeline/sessions/runtime.ts';
import { float32Data } from '../../pipeline/sessions/tensors.ts';
import { expectClose } from '../support/close-to.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { expectCheckpointError } from '../support/thrown.ts';

/** Linears without a bias over blocks of 4 and of 8 bits, as a language model behind a Q-Former has them. */

const BLOCK = 32;
const OUTPUTS = 21;

/** A checkpoint of one matrix in whole numbers, whose blocks take the whole range and so are kept as they are. */
async function weightsOf(inputSize: number, bits: 4 | 8) {
  const [smallest, largest] = bits === 4 ? [-7, 8] : [-127, 127];
  const matrix = Float32Array.from({ length: OUTPUTS * inputSize }, (_, place) => {
    const within = (place % inputSize) % BLOCK;
    if (within < 2) return within === 0 ? smallest : largest;
    return smallest + ((place * 7919) % (largest - smallest + 1));
  });
  const source = temporaryFolder();
  await writeSafetensors(join(source, 'model.safetensors'), [floats('layer.weight', [OUTPUTS, inputSize], matrix)]);
  const region = openWeights(source).regions.get('layer.weight');
  if (region === undefined) throw new Error('Expected the tensor that was written.');
  const folder = temporaryFolder();
  const tensors = (bits === 4 ? halfByteTensors : blockTensors)('layer', region, BLOCK);
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return { matrix, weights: openWeights(folder) };
}

function floats(name: string, shape: readonly number[], values: Float32Array): TensorToWrite {
  const bytes = new Uint8Array(values.buffer);
  return { name, dtype: 'F32', shape, lengthBytes: bytes.length, read: () => bytes };
}

async function compute(x: Float32Array, inputSize: number, weights: Weights): Promise<readonly number[]> {
  const graph = createGraph('linear');
  const input = addInput(graph, 'x', 'float32', ['rows', inputSize]);
  addOutput(graph, 'y', linearWithoutBias(child(rootModule(graph, weights), 'layer'), input, inputSize, OUTPUTS));
  expect(graph.nodes.map(({ operator }) => operator)).toContain('MatMulNBits');
  const options = { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder } as const;
  const session = await createSession(graph, { ...options, prepacksWeights: true });
  const outputs = await session.run({ x: { data: x, shape: [x.length / inputSize, inputSize] } });
  await session.release();
  return Array.from(float32Data(outputs, 'y'));
}

/** Rows of whole numbers of which the largest of each block is 127, so that the runtime rounds them to themselves. */
function wholeRows(count: number, inputSize: number): Float32Array {
  return Float32Array.from({ length: count * inputSize }, (_, place) =>
    (place % inputSize) % BLOCK === 5 ? 127 : ((place * 104_729) % 255) - 127,
  );
}

test.each([
  [4, 32, 1],
  [4, 96, 3],
  [4, 160, 7],
  [8, 96, 3],
] as const)('of %d bits and %d inputs is an exact product for %d rows', async (bits, inputSize, rowCount) => {
  const { matrix, weights } = await weightsOf(inputSize, bits);
  const rows = wholeRows(rowCount, inputSize);
  const expected = Array.from({ length: rowCount * OUTPUTS }, (_, place) => {
    const [row, output] = [Math.floor(place / OUTPUTS), place % OUTPUTS];
    let sum = 0;
    for (let input = 0; input < inputSize; input += 1)
      sum += (rows[row * inputSize + input] ?? 0) * (matrix[output * inputSize + input] ?? 0);
    return sum;
  });
  expectClose(await compute(rows, inputSize, weights), expected, { absolute: 1e-3, relative: 1e-6 });
});

test.each([4, 8] as const)('of %d bits gives a row what it gives it alone', async (bits) => {
  const inputSize = 160;
  const { weights } = await weightsOf(inputSize, bits);
  const rows = Float32Array.from({ length: 5 * inputSize }, (_, place) => Math.sin(place * 0.7) * (1 + (place % 97)));
  const together = await compute(rows, inputSize, weights);
  const largest = Math.max(...together.map(Math.abs));
  for (let row = 0; row < 5; row += 1) {
    const alone = await compute(rows.slice(row * inputSize, (row + 1) * inputSize), inputSize, weights);
    expectClose(alone, together.slice(row * OUTPUTS, (row + 1) * OUTPUTS), { absolute: largest * 1e-6 });
  }
});

test('of another size than the model has is refused by its name', async () => {
  const { weights } = await weightsOf(96, 4);
  const module = child(rootModule(createGraph('refused'), weights), 'layer');
  const x = addInput(module.op.graph, 'x', 'float32', ['rows', 64]);
  expectCheckpointError(() => linearWithoutBias(module, x, 64, OUTPUTS), 'CHECKPOINT_TENSOR_MISMATCH', [
    'tensor layer.weight_blocks_4_bits: expected shape [21, 2, 16], got [21, 3, 16].',
  ]);
});
