import { describe, expect, test } from 'vitest';
import { parameterColumn } from '../../../checkpoint/config/generation-parameters.ts';
import { addGenerationParameters } from '../../../models/generation/parameters.ts';
import { createGraph } from '../../../onnx/graph.ts';
import { rowFeeds, settingFeeds, uniformFeeds } from '../../../pipeline/sessions/generation-feeds.ts';
import { greedySettings } from '../../support/greedy-settings.ts';

const row = (inputIds: readonly number[], seed: number, maxNewTokens = 4) => ({
  image: 0,
  inputIds,
  maxNewTokens,
  minNewTokens: 1,
  seed,
});

describe('the feeds of rows', () => {
  test('pad shorter prompts on the left with their own first token', () => {
    const feeds = rowFeeds([{ ...row([7, 8, 9], 1), image: 1 }, row([5], 2)]);
    expect(feeds['input_ids']).toEqual({ data: BigInt64Array.of(7n, 8n, 9n, 5n, 5n, 5n), shape: [2, 3] });
    expect(feeds['padding_length']).toEqual({ data: BigInt64Array.of(0n, 2n), shape: [2] });
    expect(feeds['image_index']).toEqual({ data: BigInt64Array.of(1n, 0n), shape: [2] });
    expect(feeds['max_new_tokens']).toEqual({ data: BigInt64Array.of(4n, 4n), shape: [2] });
    expect(feeds['min_new_tokens']).toEqual({ data: BigInt64Array.of(1n, 1n), shape: [2] });
    expect(Object.keys(feeds)).not.toContain('question_ids');
  });

  test('pad questions on the right, and give their lengths', () => {
    const feeds = rowFeeds([
      { ...row([1], 1), questionIds: [2, 3, 4] },
      { ...row([1], 2), questionIds: [6] },
    ]);
    expect(feeds['question_ids']).toEqual({ data: BigInt64Array.of(2n, 3n, 4n, 6n, 0n, 0n), shape: [2, 3] });
    expect(feeds['question_length']).toEqual({ data: BigInt64Array.of(3n, 1n), shape: [2] });
  });
});

describe('the feeds of settings', () => {
  test('have the type and the shape of the graph’s inputs', () => {
    const feeds = settingFeeds({ ...greedySettings, early_stopping: 2, do_sample: true, top_p: 0.5 });
    expect(feeds['early_stopping']).toEqual({ data: BigInt64Array.of(2n), shape: [] });
    expect(feeds['do_sample']).toEqual({ data: Uint8Array.of(1), shape: [], isBool: true });
    expect(feeds['top_p']).toEqual({ data: Float32Array.of(0.5), shape: [] });
  });

  test('with those of rows and of random numbers, are all inputs that the graph declares', () => {
    const graph = createGraph('parameters');
    addGenerationParameters(graph);
    const rows = [row([1], 1)];
    const feeds = {
      ...rowFeeds(rows),
      ...settingFeeds(greedySettings),
      ...uniformFeeds({ rows, settings: greedySettings }, 2),
    };
    for (const { name } of graph.inputs) expect(Object.keys(feeds)).toContain(name);
    expect(graph.inputs).toHaveLength(Object.keys(parameterColumn('graph')).length + 1);
  });
});

describe('the random numbers', () => {
  const sampling = { ...greedySettings, do_sample: true };

  test('are one unused number where nothing is drawn', () => {
    expect(uniformFeeds({ rows: [row([1], 1)], settings: greedySettings }, 2)['uniforms']?.shape).toEqual([1, 1, 1]);
  });

  test.each([
    [{ num_return_sequences: 3 }, 3],
    [{ num_beams: 2, num_return_sequences: 2 }, 4],
  ])('with %j are %d for each step of a row', (changes, draws) => {
    const rows = [row([1], 1), row([1], 2)];
    const { uniforms } = uniformFeeds({ rows, settings: { ...sampling, ...changes } }, 2);
    expect(uniforms?.shape).toEqual([2, 4, draws]);
    expect(uniforms?.data.every((number) => number >= 0 && number < 1)).toBe(true);
  });

  test('of a row do not depend on the rows beside it, and follow from its seed', () => {
    const numbersOf = (...seeds: readonly number[]) => {
      const { uniforms } = uniformFeeds({ rows: seeds.map((seed) => row([1], seed)), settings: sampling }, 2);
      return [...(uniforms?.data ?? [])];
    };
    expect(numbersOf(9, 5).slice(4)).toEqual(numbersOf(5));
    expect(numbersOf(5)).toEqual(numbersOf(5));
    expect(numbersOf(5)).not.toEqual(numbersOf(6));
  });

  test.each([0, 1, 2, 3])('of step %d are spread evenly over the seeds that people choose', (step) => {
    const rows = Array.from({ length: 1000 }, (_, seed) => row([1], seed));
    const { uniforms } = uniformFeeds({ rows, settings: sampling }, 2);
    const numbers = rows.map((_, seed) => Number(uniforms?.data[seed * 4 + step]));
    for (const tenth of Array.from({ length: 10 }, (_, index) => index / 10)) {
      const count = numbers.filter((number) => number >= tenth && number < tenth + 0.1).length;
      expect(count).toBeGreaterThan(60);
      expect(count).toBeLessThan(140);
    }
  });

  test('of neighbouring seeds have nothing to do with each other', () => {
    const rows = Array.from({ length: 1000 }, (_, seed) => row([1], seed));
    const { uniforms } = uniformFeeds({ rows, settings: sampling }, 2);
    for (const step of [0, 1, 2, 3]) {
      const centred = rows.map((_, seed) => Number(uniforms?.data[seed * 4 + step]) - 0.5);
      const products = centred.slice(1).map((number, index) => number * (centred[index] ?? 0));
      const correlation = (12 * products.reduce((sum, product) => sum + product, 0)) / products.length;
      expect(Math.abs(correlation)).toBeLessThan(0.15);
    }
  });

  test('of a row that ends sooner than others leave its later steps at zero', () => {
    const { uniforms } = uniformFeeds({ rows: [row([1], 1, 2), row([1], 2, 4)], settings: sampling }, 2);
    expect([...(uniforms?.data ?? [])].map((number) => number > 0)).toEqual([
      ...[true, true, false, false],
      ...[true, true, true, true],
    ]);
  });
});
