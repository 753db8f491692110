import { describe, expect, test } from 'vitest';
import {
  type GenerationLimits,
  newTokenLimit,
  resolveGenerationSettings,
} from '../../../pipeline/tasks/generation-settings.ts';

describe('generation settings', () => {
  test("are transformers' where neither request nor checkpoint says otherwise", () => {
    expect(resolveGenerationSettings({}, {})).toMatchObject({
      maxNewTokens: { tokens: 20, includesPrompt: false },
      minNewTokens: { tokens: 0 },
      shared: {
        num_beams: 1,
        length_penalty: 1,
        early_stopping: 0,
        num_return_sequences: 1,
        repetition_penalty: 1,
        no_repeat_ngram_size: 0,
        do_sample: false,
        temperature: 1,
        top_k: 50,
        top_p: 1,
      },
      seed: undefined,
    });
  });

  test("take the request's over the checkpoint's", () => {
    const checkpoint = { num_beams: 5, max_new_tokens: 30, top_p: 0.8 };
    expect(resolveGenerationSettings({ num_beams: 2, top_p: undefined }, checkpoint)).toMatchObject({
      maxNewTokens: { tokens: 30 },
      shared: { num_beams: 2, top_p: 0.8 },
    });
  });

  test.each([
    [true, 1],
    [false, 0],
    ['true', 1],
    ['false', 0],
    ['never', 2],
  ] as const)('give the graph early_stopping %j as %d', (requested, expected) => {
    expect(resolveGenerationSettings({ early_stopping: requested }, {}).shared.early_stopping).toBe(expected);
  });

  test('count the prompt where a checkpoint sets max_length or min_length, except for the 20 that means unset', () => {
    const { maxNewTokens, minNewTokens } = resolveGenerationSettings({}, { max_length: 30, min_length: 8 });
    expect([newTokenLimit(maxNewTokens, 4), newTokenLimit(maxNewTokens, 40)]).toEqual([26, 0]);
    expect([newTokenLimit(minNewTokens, 3), newTokenLimit(minNewTokens, 9)]).toEqual([5, 0]);
    const long = resolveGenerationSettings({}, { max_length: 512 }).maxNewTokens;
    expect([newTokenLimit(long, 1, 48), newTokenLimit(long, 20, 48)]).toEqual([48, 29]);
    const many = resolveGenerationSettings({}, { max_new_tokens: 512 }).maxNewTokens;
    expect([newTokenLimit(many, 1, 48), newTokenLimit(many, 48, 48), newTokenLimit(many, 1, 999)]).toEqual([
      48, 1, 512,
    ]);
    const asked = resolveGenerationSettings({ max_new_tokens: 512 }, { max_new_tokens: 512 }).maxNewTokens;
    expect(newTokenLimit(asked, 1, 48)).toBe(512); // Refused by its caller.
    const unset = resolveGenerationSettings({}, { max_length: 20 }).maxNewTokens;
    expect([newTokenLimit(unset, 1), newTokenLimit(unset, 4)]).toEqual([20, 20]);
  });

  test.each([
    [{ num_return_sequences: 2 }, /num_return_sequences 1 without/],
    [{ num_return_sequences: 4, num_beams: 3 }, /at most num_beams 3, got 4/],
    [{ min_new_tokens: 9, max_new_tokens: 8 }, /min_new_tokens to be at most max_new_tokens 8, got 9/],
    [{ min_new_tokens: 21 }, /min_new_tokens to be at most max_new_tokens 20, got 21/],
  ])('refuse %j', (inputs, message) => {
    expect(() => resolveGenerationSettings(inputs, {})).toThrow(message);
    expect(() => resolveGenerationSettings(inputs, {})).toThrow(expect.objectContaining({ code: 'INVALID_PARAMETER' }));
  });

  test("allow a shorter text than the checkpoint's or a preset's least, as transformers does", () => {
    expect(resolveGenerationSettings({ max_new_tokens: 3 }, { min_length: 9 }).maxNewTokens.tokens).toBe(3);
    const preset = { minNewTokens: { tokens: 20, includesPrompt: false } };
    expect(resolveGenerationSettings({ max_new_tokens: 3 }, {}, preset).maxNewTokens.tokens).toBe(3);
    expect(resolveGenerationSettings({ min_new_tokens: 8, max_new_tokens: 8 }, {}).minNewTokens.tokens).toBe(8);
  });

  test('count the prompt in a max_length that cannot hold min_new_tokens', () => {
    expect(() => resolveGenerationSettings({ min_new_tokens: 30 }, { max_length: 30 })).toThrow(
      /at most .* 29, got 30/,
    );
  });

  test('allow several samples without beams', () => {
    expect(
      resolveGenerationSettings({ num_return_sequences: 4, do_sample: true }, {}).shared.num_return_sequences,
    ).toBe(4);
  });
});

describe("an operator's limits", () => {
  const limits: GenerationLimits = { maxBeams: 4, maxNewTokens: 30 };

  test.each([
    [{ num_beams: 5 }, {}, 'Expected num_beams to be at most 4, which this service allows, got 5.'],
    [{ num_return_sequences: 5, do_sample: true }, {}, 'num_return_sequences to be at most 4'],
    [{ max_new_tokens: 31 }, {}, 'Expected max_new_tokens to be at most 30, which this service allows, got 31.'],
    [{}, { num_beams: 5 }, 'num_beams to be at most 4'],
  ])('refuse a request with %j and the preset %j', (inputs, preset, message) => {
    const resolve = () => resolveGenerationSettings(inputs, {}, preset, limits);
    expect(resolve).toThrow(expect.objectContaining({ code: 'INVALID_PARAMETER' }));
    expect(resolve).toThrow(message);
  });

  test('let through what is within them', () => {
    const inputs = { num_beams: 4, num_return_sequences: 4, max_new_tokens: 30 };
    expect(resolveGenerationSettings(inputs, {}, {}, limits).shared).toMatchObject({ num_beams: 4 });
  });

  test("lower a checkpoint's own values", () => {
    const checkpoint = { num_beams: 1_000_000, num_return_sequences: 9, max_length: 500 };
    const { shared, maxNewTokens } = resolveGenerationSettings({}, checkpoint, {}, limits);
    expect(shared).toMatchObject({ num_beams: 4, num_return_sequences: 4 });
    expect(newTokenLimit(maxNewTokens, 10)).toBe(30);
    expect(newTokenLimit(maxNewTokens, 480)).toBe(20);
  });
});
