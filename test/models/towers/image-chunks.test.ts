import { describe, expect, onTestFinished, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { clipImageGraph } from '../../../models/heads/clip.ts';
import type { GraphForm } from '../../../models/module.ts';
import { createSession } from '../../../pipeline/sessions/runtime.ts';
import { float32Data } from '../../../pipeline/sessions/tensors.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder } from '../../support/goldens.ts';

/** Images that are encoded in chunks have the encodings that they have alone. */

const folder = checkpointFolder('clip-placeholder-end');
const { patchSize } = openCheckpoint(folder).config.vision;

/** Encodes images of so many patches a side. */
async function openEncoder(patchesPerSide: number, form: GraphForm = 'plain') {
  const side = patchesPerSide * patchSize;
  const checkpoint = openCheckpoint(folder, side);
  if (checkpoint.task !== 'clip') throw new Error('Expected a CLIP checkpoint.');
  const weights = openWeights(folder);
  const graph = clipImageGraph(checkpoint, weights, { form });
  const options = { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder } as const;
  const session = await createSession(graph, options);
  onTestFinished(() => session.release());
  const pixelCount = side * side * 3;
  const pixels = (image: number) => Uint8Array.from({ length: pixelCount }, (_, place) => (place * (image + 3)) % 251);
  const encode = async (images: readonly number[]) => {
    const data = Buffer.concat(images.map(pixels));
    const outputs = await session.run({ images: { data, shape: [images.length, side, side, 3] } });
    const embeds = float32Data(outputs, 'image_embeds');
    const length = embeds.length / images.length;
    return images.map((_, index) => Array.from(embeds.subarray(index * length, (index + 1) * length)));
  };
  return { graph, encode };
}

const isLoop = ({ operator }: { readonly operator: string }) => operator === 'Loop';

describe.each([
  ['one at a time', 20], // 401 tokens
  ['two at a time', 13], // 170 tokens
  ['all at once', 4],
] as const)('images that are encoded %s', (_, patchesPerSide) => {
  test.each([1, 2, 3, 5])('%d of them, as each alone', async (count) => {
    const { encode } = await openEncoder(patchesPerSide);
    const images = Array.from({ length: count }, (_, index) => index);
    const together = await encode(images);
    expect(new Set(together.map(String)).size).toBe(count);
    for (const image of images) {
      const [alone = []] = await encode([image]);
      if (patchesPerSide === 20) expect(together[image]).toEqual(alone);
      else expectClose(together[image] ?? [], alone, { absolute: 1e-5, relative: 1e-4 });
    }
  });
});

test('the lean form encodes all images at once', async () => {
  const [plain, lean] = [await openEncoder(13), await openEncoder(13, 'lean')];
  expect([plain.graph.nodes.some(isLoop), lean.graph.nodes.some(isLoop)]).toEqual([true, false]);
  const [expected, encoded] = [await plain.encode([0, 1, 2]), await lean.encode([0, 1, 2])];
  for (const [index, embeds] of expected.entries())
    expectClose(encoded[index] ?? [], embeds, { absolute: 1e-4, relative: 1e-3 });
});
