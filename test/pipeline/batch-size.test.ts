import { describe, expect, test } from 'vitest';
import { largestBatchSize, maxBatchSizeOn } from '../../pipeline/batch-size.ts';
import { decodingAdvice } from '../../pipeline/images/decoding-advice.ts';

/** BLIP-large's sizes. */
const large = {
  vision: { imageSize: 384, patchSize: 16, hiddenSize: 1024, intermediateSize: 4096 },
  text: { layerCount: 12, hiddenSize: 768 },
};
const cuda = { executionProvider: 'cuda', precision: 'float16' } as const;

describe('the size of a batch', () => {
  test('is the one that is set', () => {
    expect(maxBatchSizeOn(5, cuda, large)).toBe(5);
    expect(largestBatchSize(5)).toBe(5);
  });

  test('is 8 on other providers, and as many as fit on a GPU', () => {
    expect(maxBatchSizeOn('auto', { executionProvider: 'cpu', precision: 'float32' }, large)).toBe(8);
    expect(maxBatchSizeOn('auto', cuda, large)).toBe(32);
    expect(maxBatchSizeOn('auto', { ...cuda, precision: 'float32' }, large)).toBe(28);
    expect(largestBatchSize('auto')).toBe(32);
  });

  test('is at least 1 for a model of any size', () => {
    const vision = { ...large.vision, imageSize: 16_384 };
    expect(maxBatchSizeOn('auto', cuda, { ...large, vision })).toBe(1);
  });
});

describe('advice about decoding', () => {
  test('is given for a GPU beside more CPUs than decode', () => {
    expect(decodingAdvice(cuda, undefined, 16)).toEqual([
      '3 of 16 CPUs decode images. Set UV_THREADPOOL_SIZE=17 before Node starts, so that all CPUs decode images for the GPU.',
    ]);
  });

  test.each([
    ['the CPU', { executionProvider: 'cpu' }, undefined, 16],
    ['a size that is set', cuda, '8', 16],
    ['few CPUs', cuda, undefined, 4],
  ] as const)('is not given for %s', (_, chosen, threads, cpuCount) => {
    expect(decodingAdvice(chosen, threads, cpuCount)).toEqual([]);
  });
});
