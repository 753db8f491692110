import { describe, expect, test } from 'vitest';
import type { SharedSettings } from '../../../pipeline/sessions/generation-batch.ts';
import {
  bytesOf,
  MAX_RUN_BYTES,
  MAX_TOKENS_PER_ROW,
  MAX_TOKENS_PER_RUN,
  splitRows,
  tokensOf,
} from '../../../pipeline/sessions/run-bounds.ts';
import { greedySettings } from '../../support/greedy-settings.ts';

/** The text model of BLIP-base and BLIP-large. */
const blip = { layerCount: 12, keyValueWidth: 768, vocabularySize: 30_524, maxPositions: 512, encodedImageTokens: 0 };
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
