import { describe, expect, test } from 'vitest';
import { readBlipConfig } from '../../../checkpoint/config/blip-config.ts';
import type { SharedSettings } from '../../../pipeline/sessions/generation-batch.ts';
import {
  bytesOf,
  MAX_RUN_BYTES,
  MAX_TOKENS_PER_ROW,
  MAX_TOKENS_PER_RUN,
  splitRows,
  tokensOf,
  usualRunBytes,
} from '../../../pipeline/sessions/run-bounds.ts';
import { blipTextSize, languageModelSize } from '../../../pipeline/sessions/text-size.ts';
import { greedySettings } from '../../support/greedy-settings.ts';
import { publishedBlip2 } from '../../support/published-blip2.ts';

/** The text model of BLIP-base and BLIP-large. */
const { text } = readBlipConfig({ path: 'config.json', values: { text_config: { num_attention_heads: 12 } } });
const blip = blipTextSize({ ...text, maxPositions: 512 });
const rows = (count: number, maxNewTokens = 20, promptLength = 4, questionLength?: number) =>
  Array.from({ length: count }, () => ({
    inputIds: Array.from({ length: promptLength }, () => 7),
    ...(questionLength === undefined ? {} : { questionIds: Array.from({ length: questionLength }, () => 7) }),
    maxNewTokens,
  }));
const settings = (changed: Partial<SharedSettings> = {}): SharedSettings => ({ ...greedySettings, ...changed });
const bounds = { maxBytes: MAX_RUN_BYTES, maxTokens: MAX_TOKENS_PER_RUN };
const MEGABYTE = 1_000_000;

describe('the memory of a run of BLIP', () => {
  // Resident memory that such a run added, with bench/make_checkpoint.py's base (onnxruntime-node 1.30, two threads).
  test.each([
    [8, settings({ num_beams: 32 }), 20, 4, 1_434],
    [64, settings(), 20, 4, 337],
    [1, settings({ num_beams: 32 }), 100, 4, 771],
    [8, settings({ num_beams: 32 }), 5, 4, 606],
    [8, settings({ do_sample: true, num_return_sequences: 32, top_k: 0 }), 5, 4, 928],
    [8, settings({ do_sample: true, num_beams: 32, top_k: 0 }), 5, 4, 1_195],
    [8, settings({ num_beams: 32, no_repeat_ngram_size: 3, repetition_penalty: 1.2 }), 20, 4, 1_426],
    [4, settings({ num_beams: 8 }), 20, 200, 1_712],
  ])('%i rows with %j: no less than measured, and not three times as much', (count, of, tokens, prompt, measured) => {
    const estimated = bytesOf(rows(count, tokens, prompt), of, blip) / MEGABYTE;
    expect(estimated).toBeGreaterThan(measured * 0.95);
    expect(estimated).toBeLessThan(measured * 3);
  });
});

describe('rows are split', () => {
  test.each([
    ['eight captions', rows(8), settings()],
    ['eight captions with three beams', rows(8), settings({ num_beams: 3 })],
    ['eight captions of 50 tokens with five beams', rows(8, 50), settings({ num_beams: 5 })],
    ['64 prompts about one image', rows(64), settings()],
    ['eight questions', rows(8, 20, 1, 30), settings()],
  ])('not where they are ordinary: %s', (_, ordinary, of) => {
    expect(splitRows(ordinary, of, blip, bounds)).toEqual([ordinary]);
  });

  test.each([
    ['beams', rows(256), settings({ num_beams: 32 })],
    ['samples', rows(256), settings({ do_sample: true, num_return_sequences: 32 })],
    ['long texts', rows(64, 400), settings()],
    ['long prompts', rows(256, 20, 480), settings()],
    ['long questions', rows(256, 20, 1, 512), settings()],
    ['draws from everything', rows(32), settings({ do_sample: true, num_beams: 4, top_k: 0 })],
    ['n-grams', rows(64, 250), settings({ no_repeat_ngram_size: 128 })],
  ])('into parts within both bounds, in their order: %s', (_, many, of) => {
    const parts = splitRows(many, of, blip, bounds);
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.flat()).toEqual(many);
    for (const part of parts) {
      expect(bytesOf(part, of, blip)).toBeLessThanOrEqual(MAX_RUN_BYTES);
      expect(tokensOf(part, of, blip)).toBeLessThanOrEqual(MAX_TOKENS_PER_RUN);
    }
  });

  test('into parts that have positions: the longest prompt and the longest text may be of two rows', () => {
    const [longPrompt, longText] = [rows(1, 2, 500), rows(1, 200, 1)];
    expect(splitRows([...longPrompt, ...longText], settings(), blip, bounds)).toEqual([longPrompt, longText]);
    const fitting = rows(1, 13, 1);
    expect(splitRows([...longPrompt, ...fitting], settings(), blip, bounds)).toHaveLength(1);
  });

  test('not below one row', () => {
    expect(splitRows(rows(2, 512), settings({ num_beams: 32 }), blip, bounds)).toHaveLength(2);
  });
});

test('drawing from a whole vocabulary with beams takes the time of many tokens', () => {
  const dear = settings({ do_sample: true, num_beams: 32, top_k: 0 });
  expect(tokensOf(rows(1, 50), dear, blip)).toBeGreaterThan(MAX_TOKENS_PER_ROW);
  expect(tokensOf(rows(1, 50), { ...dear, top_k: 50 }, blip)).toBeLessThan(MAX_TOKENS_PER_RUN);
});

describe('a large language model', () => {
  const sizes = Object.entries(publishedBlip2).map(([name, config]) => [name, languageModelSize(config)] as const);
  const sizeOf = (name: keyof typeof publishedBlip2, precision?: 'float16') =>
    languageModelSize(publishedBlip2[name], precision);

  // Weights that a token reads, in billions: the reference's figures from transformers' own models.
  test.each([
    ['opt-2.7b', 2.65],
    ['opt-6.7b', 6.65],
    ['flan-t5-xl', 1.43],
    ['flan-t5-xxl', 5.57],
    ['vicuna-7b', 6.61],
  ] as const)('%s takes the time of %d tokens for each of its own', (name, cost) => {
    expect(sizeOf(name).tokenCost).toBeCloseTo(cost, 1);
    const size = sizeOf(name);
    const tokens = 8 * (45 + size.encodedImageTokens + 20);
    expect(tokensOf(rows(8, 20, 45), settings(), size) / tokens).toBeCloseTo(size.tokenCost, 2);
  });

  test('a small one costs what BLIP does', () => {
    const { language, queryCount } = publishedBlip2['opt-2.7b'];
    const small = languageModelSize({ language: { ...language, layerCount: 1, hiddenSize: 64 }, queryCount });
    expect(small).toMatchObject({ tokenCost: 1, leastSequences: 1 });
  });

  test('a step of one sequence takes the time of four, because all wait for the weights', () => {
    const size = sizeOf('opt-2.7b');
    const of = (num_beams: number) => tokensOf(rows(1, 100, 1), settings({ num_beams }), size);
    expect(of(1)).toBe(of(4));
    expect(of(8)).toBeGreaterThan(1.9 * of(4));
  });

  test('keys and values take what the reference says, and half of it in 16 bits', () => {
    const keysAndValues = (size: ReturnType<typeof sizeOf>) =>
      size.layerCount * 2 * size.keyValueWidth * size.numberBytes;
    expect(keysAndValues(sizeOf('opt-2.7b'))).toBe(655_360);
    expect(keysAndValues(sizeOf('flan-t5-xl'))).toBe(393_216);
    expect(keysAndValues(sizeOf('opt-2.7b', 'float16'))).toBe(327_680);
  });

  test('an encoder compares all tokens of a row with each other, so that memory grows with their square', () => {
    const size = sizeOf('flan-t5-xl');
    const of = (length: number, count = 1) => bytesOf(rows(count, 1, 1, length), settings(), size);
    const scores = 32 * (2_016 + size.encodedImageTokens) ** 2 * 4; // 32 heads, float32
    expect(of(2_016)).toBeGreaterThan(3 * scores);
    expect(of(2_016, 2)).toBe(2 * of(2_016));
    expect(of(2_016)).toBeGreaterThan(4 * of(500));
  });

  test.each(sizes)('%s answers with the beams of LAVIS within its own bounds', (_, size) => {
    const of = settings({ num_beams: 5 });
    for (const [prompt, tokens] of [
      [45, 30],
      [60, 128],
    ] as const) {
      const row = rows(1, tokens, size.encodedImageTokens > 0 ? 1 : prompt, prompt);
      expect(bytesOf(row, of, size)).toBeLessThanOrEqual(usualRunBytes(size));
      expect(tokensOf(row, of, size)).toBeLessThanOrEqual(MAX_TOKENS_PER_ROW);
    }
  });

  test('usual bytes of BLIP are 1 GB, and those of the largest model a part of its weights', () => {
    expect(usualRunBytes(blip)).toBe(MAX_RUN_BYTES);
    expect(usualRunBytes(sizeOf('opt-6.7b'))).toBeGreaterThan(MAX_RUN_BYTES);
    expect(usualRunBytes(sizeOf('vicuna-13b'))).toBeLessThan(0.15 * 56.8e9);
  });
});
