import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { OptConfig } from '../../../checkpoint/config/opt-config.ts';
import { noTokenRules } from '../../../checkpoint/config/token-rules.ts';
import { readFloats } from '../../../checkpoint/new-checkpoint/float-tensor.ts';
import { writeSafetensors } from '../../../checkpoint/new-checkpoint/write-safetensors.ts';
import { checkpointTensors } from '../../../checkpoint/quantize/checkpoint-tensors.ts';
import type { TensorRegion } from '../../../checkpoint/weights/safetensors.ts';
import { openWeights, type Weights } from '../../../checkpoint/weights/weights.ts';
import { generate } from '../../../models/generation/generate.ts';
import { optLanguageModel } from '../../../models/language-models/opt.ts';
import { child, rootModule } from '../../../models/module.ts';
import { addOutput, createGraph } from '../../../onnx/graph.ts';
import { openWeightsSession } from '../../../pipeline/sessions/weights-session.ts';
import { expectClose } from '../../support/close-to.ts';
import { constantParameters } from '../../support/evaluate.ts';
import { greedyByHand, optShapes, SMALL_OPT } from '../../support/opt-by-hand.ts';
import { randomTensors, weightsOf } from '../../support/random-tensors.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** OPT in 8 and 4 bits, against the arithmetic in float64 on the weights that its numbers stand for. */

const config: OptConfig = { ...SMALL_OPT, intermediateSize: 44, endTokenIds: [36] };

const prompts = [
  [2, 5, 30, 7, 12],
  [2, 33],
  [2, 11, 20],
];
const NEW_TOKENS = 3;

async function quantized(weights: Weights, bits: 4 | 8): Promise<Weights> {
  const folder = temporaryFolder();
  await writeSafetensors(join(folder, 'model.safetensors'), checkpointTensors(weights.regions, bits));
  return openWeights(folder);
}

/** The floats that the tensors of a quantized checkpoint stand for, by the names of the matrices. */
function floatsOf({ regions }: Weights): ReturnType<typeof randomTensors> {
  const tensors = new Map<string, { readonly shape: readonly number[]; readonly values: Float32Array }>();
  for (const [name, region] of regions) {
    const module = name.slice(0, name.lastIndexOf('.'));
    if (name.endsWith('.weight_blocks') || name.endsWith('.weight_blocks_4_bits'))
      tensors.set(
        `${module}.weight`,
        matrixOf(region, (suffix) => regions.get(`${module}.${suffix}`)),
      );
    else if (!/\.weight_block_/.test(name)) tensors.set(name, { shape: region.shape, values: readFloats(region) });
  }
  return tensors;
}

function matrixOf(blocks: TensorRegion, other: (suffix: string) => TensorRegion | undefined) {
  const bits = blocks.name.endsWith('4_bits') ? 4 : 8;
  const [outputSize = 0, blockCount = 0, blockBytes = 0] = blocks.shape;
  const blockSize = (blockBytes * 8) / bits;
  const inputSize = blocks.name.includes('.fc2.') ? config.intermediateSize : config.hiddenSize;
  const [scale, zeroPoint] = [other('weight_block_scale'), other('weight_block_zero_point')];
  if (scale === undefined) throw new Error(`Expected a scale of ${blocks.name}.`);
  const [steps, numbers] = [readFloats(scale), bytesOf(blocks)];
  const zeros = zeroPoint === undefined ? undefined : bytesOf(zeroPoint);
  const half = (bytes: Uint8Array, place: number) => ((bytes[place >> 1] ?? 0) >> (4 * (place & 1))) & 15;
  const values = Float32Array.from({ length: outputSize * inputSize }, (_, place) => {
    const [output, input] = [Math.floor(place / inputSize), place % inputSize];
    const block = Math.floor(input / blockSize);
    const at = (output * blockCount + block) * blockSize + (input % blockSize);
    const zero = zeros === undefined ? 128 : half(zeros, output * Math.ceil(blockCount / 2) * 2 + block);
    return ((bits === 4 ? half(numbers, at) : (numbers[at] ?? 0)) - zero) * (steps[output * blockCount + block] ?? 0);
  });
  return { shape: [outputSize, inputSize], values };
}

function bytesOf({ path, offsetBytes, lengthBytes }: TensorRegion): Uint8Array {
  return readFileSync(path).subarray(offsetBytes, offsetBytes + lengthBytes);
}

/** The ids and log-probabilities of each prompt's new tokens, all prompts as one batch padded on the left. */
async function generated(weights: Weights, rows: readonly (readonly number[])[]) {
  const graph = createGraph('opt');
  const model = rootModule(graph, weights);
  const { op } = model;
  const longest = Math.max(...rows.map((row) => row.length));
  const padding = rows.map((row) => longest - row.length);
  const padded = rows.flatMap((row, index) => [...new Array<number>(padding[index] ?? 0).fill(17), ...row]);
  const prompt = {
    inputIds: op.constant('int64', padded, [rows.length, longest]),
    paddingLength: op.constant('int64', padding),
  };
  const perRow = (count: number) => op.fill('int64', count, [rows.length]);
  const parameters = constantParameters(model, { maxNewTokens: perRow(NEW_TOKENS), minNewTokens: perRow(0) });
  const language = optLanguageModel(child(model, 'language_model'), config);
  const { tokenIds, tokenLogprobs } = generate(model, prompt, parameters, language, noTokenRules);
  addOutput(graph, 'ids', tokenIds);
  addOutput(graph, 'logprobs', tokenLogprobs);
  const session = await openWeightsSession(graph, weights, { executionProvider: 'cpu', threadCount: 1 });
  const outputs = await session.run({});
  await session.release();
  const length = outputs['ids']?.shape[2] ?? 0;
  return rows.map((row, index) => {
    const numbers = (name: string, from: number) =>
      Array.from(outputs[name]?.data.slice(index * length + from, (index + 1) * length) ?? [], Number);
    const from = padding[index] ?? 0;
    return { tokenIds: numbers('ids', from), logprobs: numbers('logprobs', from + row.length) };
  });
}

/** Rows are rounded to 8 bits as well. In 4 bits, the weights that these were made of are 0.18 to 0.26 away. */
const ROUNDED_ROWS = { absolute: 0.05 };

describe.each([8, 4] as const)('in %d bits', (bits) => {
  const tensors = randomTensors(optShapes(config, false), 21);

  test('it writes what its weights say', async () => {
    const weights = await quantized(await weightsOf(tensors), bits);
    const floats = floatsOf(weights);
    const rows = await generated(weights, prompts);
    for (const [index, prompt] of prompts.entries()) {
      const expected = greedyByHand(floats, config, prompt, NEW_TOKENS);
      expect(rows[index]?.tokenIds.slice(0, expected.tokenIds.length)).toEqual(expected.tokenIds);
      expectClose(rows[index]?.logprobs.slice(0, expected.logprobs.length) ?? [], expected.logprobs, ROUNDED_ROWS);
    }
  });

  test('a row in a batch answers as it does alone', async () => {
    const weights = await quantized(await weightsOf(tensors), bits);
    const together = await generated(weights, prompts);
    for (const [index, prompt] of prompts.entries()) {
      const [alone] = await generated(weights, [prompt]);
      expect(together[index]?.tokenIds).toEqual(alone?.tokenIds);
      expectClose(together[index]?.logprobs ?? [], alone?.logprobs ?? [], { absolute: 1e-5 });
    }
  });
});
