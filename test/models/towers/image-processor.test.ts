import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { resizeGraph } from '../../../models/towers/image-processor.ts';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import { createSession } from '../../../pipeline/sessions/runtime.ts';
import { checkpointNames, goldenFile, imageNames, imagePath, openGoldenTensors } from '../../support/goldens.ts';

const decodeOptions = { maxPixels: 50_000_000, maxSide: 16_384, applyExif: true };

/** Pillow rounds after each pass in fixed point; onnxruntime may be one grey level off, rarely. */
const MAX_DIFFERENCE = 1;
const MAX_SHARE = 0.001;

async function resize(path: string, size: number): Promise<Uint8Array> {
  const image = await decodeImage(readFileSync(path), decodeOptions);
  const session = await createSession(resizeGraph({ kind: 'squash', side: size }), {
    executionProvider: 'cpu',
    threadCount: 1,
  });
  const outputs = await session.run({ image: { data: image.data, shape: [1, image.height, image.width, 3] } });
  await session.release();
  return outputs['resized']?.data as Uint8Array;
}

function expectPillow(got: Uint8Array, want: Uint8Array): void {
  expect(got.length).toBe(want.length);
  const differences = Array.from(got, (value, index) => Math.abs(value - (want[index] ?? Number.NaN)));
  expect(differences.reduce((worst, difference) => Math.max(worst, difference), 0)).toBeLessThanOrEqual(MAX_DIFFERENCE);
  expect(differences.filter((difference) => difference > 0).length / got.length).toBeLessThanOrEqual(MAX_SHARE);
}

describe('resizing matches Pillow', () => {
  test.each(['chelsea', 'rocket'] as const)('%s to the 384 x 384 of published checkpoints', async (image) => {
    const golden = await decodeImage(readFileSync(goldenFile(`${image}.384.png`)), decodeOptions);
    expectPillow(await resize(imagePath(image), 384), golden.data);
  });

  describe.each(checkpointNames)('to the size of %s', (name) => {
    test.each(imageNames)('%s', async (image) => {
      const golden = openGoldenTensors(name).bytes(`${image}.resized`);
      expectPillow(await resize(imagePath(image), golden.shape[0] ?? 0), golden.data);
    });
  });
});
