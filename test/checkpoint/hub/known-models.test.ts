import { expect, test } from 'vitest';
import { knownModels } from '../../../checkpoint/hub/known-models.ts';
import { publishedBlip2 } from '../../support/published-blip2.ts';

/** Sizes of published BLIP-2, calculated from their settings. Those of opt-2.7b and opt-6.7b were made: decision 0038. */

const VISION = 985_952_256;
const Q_FORMER = 105_137_664;
const TEXT_Q_FORMER = 185_660_160;
const WORDS = (30_523 + 512) * 768;
/** Bytes of a weight with its part of the block's scale, and in 4 bits of its zero point. */
const blockBytes = { 8: 1 + 4 / 64, 4: 0.5 + 4 / 32 + 0.5 / 32 } as const;

type Published = (typeof publishedBlip2)[keyof typeof publishedBlip2];

function layerWeights({ language }: Published): number {
  const { hiddenSize, intermediateSize, layerCount, headCount, headSize } = language;
  const attention = 4 * hiddenSize * headCount * headSize;
  const feedForward = (language.kind === 'opt' ? 2 : 3) * hiddenSize * intermediateSize;
  const encoder = language.kind === 't5' ? language.encoderLayerCount * (attention + feedForward) : 0;
  return encoder + layerCount * (attention + feedForward + (language.kind === 't5' ? attention : 0));
}

function copyBytes(model: Published, readsInstruction: boolean, bits: 8 | 4): number {
  const { hiddenSize, vocabularySize } = model.language;
  const others = VISION + (readsInstruction ? TEXT_Q_FORMER - WORDS : Q_FORMER);
  const head = vocabularySize * hiddenSize * (blockBytes[8] + 2); // And embeddings of two bytes.
  return others + (readsInstruction ? 4 * WORDS : 0) + layerWeights(model) * blockBytes[bits] + head;
}

const large = knownModels.filter(({ task }) => task === 'image-text-to-text');

test('every published language model is known', () => {
  for (const name of Object.keys(publishedBlip2))
    expect(large.some(({ reference }) => reference.includes(name))).toBe(true);
});

test.each(large)('$reference has the size of its settings', ({ reference, parameterCount, quantizedBytes }) => {
  const model = Object.entries(publishedBlip2).find(([name]) => reference.replace('-coco', '').endsWith(name))?.[1];
  if (model === undefined) throw new Error(`Expected settings of ${reference}, got none.`);
  const readsInstruction = reference.includes('instructblip');
  const { kind, hiddenSize, vocabularySize } = model.language;
  const head = vocabularySize * hiddenSize * (kind === 'opt' ? 1 : 2);
  const calculated = layerWeights(model) + head + VISION + (readsInstruction ? TEXT_Q_FORMER : Q_FORMER);
  expect(parameterCount / calculated).toBeCloseTo(1, 2);
  for (const bits of [8, 4] as const)
    expect(Math.abs((quantizedBytes?.[bits] ?? 0) - copyBytes(model, readsInstruction, bits))).toBeLessThan(0.08e9);
});
