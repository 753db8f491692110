import { readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { readT5Config } from '../../../checkpoint/config/t5-config.ts';
import { openWeights, type Weights } from '../../../checkpoint/weights/weights.ts';
import { imageTextToTextGraph } from '../../../models/heads/image-text-to-text.ts';
import { distanceBuckets } from '../../../models/language-models/t5-relative-bias.ts';
import type { GraphOptions } from '../../../models/module.ts';
import { expectClose } from '../../support/close-to.ts';
import { encoderInputs } from '../../support/continuation-session.ts';
import {
  int64s,
  openSessionOn,
  parameterInputs,
  promptInputs,
  readSequences,
  resizedImages,
} from '../../support/generation-session.ts';
import {
  checkpointFolder,
  type ImageTextCheckpointName,
  openBlip2Checkpoint,
  openGoldenTensors,
  readContinuations,
} from '../../support/goldens.ts';
import { allNew } from '../../support/new-images.ts';
import { weightsOf } from '../../support/random-tensors.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** The first distance of each bucket, from bucket `from` on. */
function firstDistances(bucketCount: number, maxDistance: number, from: number): readonly number[] {
  const buckets = distanceBuckets(bucketCount, maxDistance);
  return Array.from({ length: bucketCount - from }, (_, index) => buckets.indexOf(from + index));
}

describe('distances share buckets as in transformers', () => {
  /** Of transformers' `T5Attention._relative_position_bucket`. */
  test.each([
    [16, 128, 8, [8, 12, 16, 23, 32, 46, 64, 91]],
    [32, 128, 16, [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]],
    [12, 20, 6, [6, 8, 9, 11, 14, 17]],
    [7, 100, 3, [3, 8, 18, 42]],
    [5, 64, 2, [2, 7, 21]],
  ])('of %d buckets up to %d', (bucketCount, maxDistance, exactCount, firsts) => {
    expect(firstDistances(bucketCount, maxDistance, exactCount)).toEqual(firsts);
    const exact = Array.from({ length: exactCount }, (_, distance) => distance);
    expect(distanceBuckets(bucketCount, maxDistance).slice(0, exactCount)).toEqual(exact);
    expect(distanceBuckets(bucketCount, maxDistance).at(-1)).toBe(bucketCount - 1);
  });

  test('and more exact ones than distances are refused', () => {
    const values = { relative_attention_num_buckets: 32, relative_attention_max_distance: 16 };
    expectCheckpointError(() => readT5Config({ path: 'config.json', values }), 'CHECKPOINT_CONFIG_INVALID', [
      'expected relative_attention_max_distance to be more than half of relative_attention_num_buckets, 32, got 16',
    ]);
  });
});

const SHARED = 'language_model.shared.weight';

/** The embedding under another name, as old files have it. */
function withEmbedding(weights: Weights, name: string): Weights {
  const names = [SHARED, 'language_model.encoder.embed_tokens.weight', 'language_model.decoder.embed_tokens.weight'];
  const embedding = names.map((each) => weights.regions.get(each)).find((region) => region !== undefined);
  if (embedding === undefined) throw new Error('Expected an embedding.');
  const others = [...weights.regions].filter(([each]) => !names.includes(each));
  return { ...weights, regions: new Map([...others, [`language_model.${name}`, embedding]]) };
}

/** The first golden row's text, with other weights. */
async function answer(name: ImageTextCheckpointName, weights: Weights, options: GraphOptions = {}) {
  const checkpoint = openBlip2Checkpoint(checkpointFolder(name));
  const graph = imageTextToTextGraph(checkpoint, weights, { form: 'lean', ...options });
  const session = await openSessionOn(graph, weights.dataFolder);
  onTestFinished(() => session.release());
  const [row] = readContinuations(name);
  if (row === undefined) throw new Error('Expected a golden row.');
  const outputs = await session.run({
    ...allNew(resizedImages([row.image], openGoldenTensors(name)), undefined),
    image_index: int64s([0]),
    ...encoderInputs(checkpoint)([row]),
    ...promptInputs([row]),
    ...parameterInputs([row]),
  });
  const [sequence] = readSequences([row], outputs)[0] ?? [];
  return { tokenIds: sequence?.tokenIds, logprobs: sequence?.tokenLogprobs ?? [], golden: row.sequences[0]?.token_ids };
}

test.each(['shared.weight', 'encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'])(
  'files may have the embedding as %s alone',
  async (embedding) => {
    for (const name of ['blip2-t5', 'blip2-t5-legacy'] as const) {
      const { tokenIds, golden } = await answer(name, withEmbedding(openWeights(checkpointFolder(name)), embedding));
      expect(tokenIds).toEqual(golden);
    }
  },
);

/** Copies weights, and makes those of some tensors larger. */
async function enlarged(weights: Weights, pattern: RegExp, factor: number): Promise<Weights> {
  const tensors = [...weights.regions].map(([name, { path, shape, offsetBytes, lengthBytes }]) => {
    const bytes = readFileSync(path).subarray(offsetBytes, offsetBytes + lengthBytes);
    const values = new Float32Array(new Uint8Array(bytes).buffer);
    return [name, { shape, values: pattern.test(name) ? values.map((value) => value * factor) : values }] as const;
  });
  return await weightsOf(new Map(tensors));
}

test('hidden states that are too large for float16 do not overflow in it', async () => {
  const stored = openWeights(checkpointFolder('blip2-t5'));
  const weights = await enlarged(stored, /block\.\d+\.layer\.\d\.DenseReluDense\.wo\.weight$/, 1e5);
  const [wide, half] = [await answer('blip2-t5', weights), await answer('blip2-t5', weights, { precision: 'float16' })];
  expect(wide.tokenIds).not.toEqual(wide.golden);
  expect(half.tokenIds?.slice(0, 2)).toEqual(wide.tokenIds?.slice(0, 2));
  expectClose(half.logprobs.slice(0, 1), wide.logprobs.slice(0, 1), { absolute: 0.05 });
});

test('in float16, T5 keeps the Linear that overflows in float32, and norms; in bfloat16 nothing', () => {
  const checkpoint = openBlip2Checkpoint(checkpointFolder('blip2-t5-bfloat16'));
  const weights = openWeights(checkpoint.folder);
  const typesOf = (precision: 'float16' | 'bfloat16') => {
    const graph = imageTextToTextGraph(checkpoint, weights, { form: 'lean', precision });
    const casts = graph.nodes.filter(
      ({ operator, inputs }) => operator === 'Cast' && graph.initializers.has(inputs[0] ?? ''),
    );
    return new Map(casts.map(({ inputs, attributes }) => [inputs[0] ?? '', attributes['to']]));
  };
  const half = [...typesOf('float16')].filter(([name]) => name.startsWith('language_model.'));
  const wide = half.filter(([, to]) => to !== undefined && 'int' in to && to.int === 1).map(([name]) => name);
  expect(wide.length).toBeGreaterThan(0);
  expect(wide.filter((name) => !/\.wo\.weight$|layer_norm\.weight$/.test(name))).toEqual([]);
  expect(half.length).toBeGreaterThan(wide.length);
  const wo = [...weights.regions.keys()].filter((name) => name.endsWith('.wo.weight'));
  expect(wide).toEqual(expect.arrayContaining(wo));
  const inBfloat16 = [...typesOf('bfloat16').keys()].filter((name) => /\.wo\.weight$/.test(name));
  expect(inBfloat16).toEqual([]);
});
