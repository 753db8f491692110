import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
import { parameterColumn } from '../../checkpoint/config/generation-parameters.ts';
import type { GenerationBatch, SharedSettings } from './generation-batch.ts';
import { instructionFeeds, questionFeeds } from './row-feeds.ts';
import type { RuntimeTensor } from './runtime.ts';
import { runtimeFloat32, runtimeInt64s } from './tensors.ts';

/** Feeds of the graphs that generate text, under the names of their inputs (models/generation/parameters.ts). */

/** Pads shorter prompts on the left with their own first token. */
export function rowFeeds(rows: GenerationBatch['rows']): Record<string, RuntimeTensor> {
  const length = Math.max(...rows.map((row) => row.inputIds.length));
  const padded = rows.flatMap(({ inputIds }) => [
    ...Array.from({ length: length - inputIds.length }, () => inputIds[0] ?? 0),
    ...inputIds,
  ]);
  return {
    ...questionFeeds(rows),
    ...instructionFeeds(rows),
    input_ids: runtimeInt64s(padded, [rows.length, length]),
    padding_length: runtimeInt64s(rows.map((row) => length - row.inputIds.length)),
    max_new_tokens: runtimeInt64s(rows.map((row) => row.maxNewTokens)),
    min_new_tokens: runtimeInt64s(rows.map((row) => row.minNewTokens)),
  };
}

/** The settings that all rows share, each a scalar. */
export function settingFeeds(settings: SharedSettings): Record<string, RuntimeTensor> {
  const inputs = Object.entries(parameterColumn('graph')).filter(([, { shape }]) => shape.length === 0);
  const values: Readonly<Record<string, number | boolean>> = settings;
  return Object.fromEntries(
    inputs.map(([name, { elementType }]) => {
      const value = values[name];
      if (value === undefined) throw new RangeError(`Expected a value of ${name}, got none.`);
      return [name, scalar(value, elementType)];
    }),
  );
}

function scalar(value: number | boolean, elementType: 'int64' | 'float32' | 'bool'): RuntimeTensor {
  if (elementType === 'int64') return runtimeInt64s([Number(value)], []);
  if (elementType === 'float32') return runtimeFloat32(Number(value));
  return { data: Uint8Array.of(Number(value)), shape: [], isBool: true };
}

/**
 * Random numbers from 0 up to 1, [rows, steps, draws]. Each row has its own stream, so that it draws the same tokens in
 * any batch.
 * @param candidatesPerBeam how many continuations of each beam a step of beam search draws.
 */
export function uniformFeeds(
  { rows, settings }: Omit<GenerationBatch, 'images'>,
  candidatesPerBeam: number,
): Record<string, RuntimeTensor> {
  if (!settings.do_sample) return { uniforms: { data: new Float32Array(1), shape: [1, 1, 1] } };
  const steps = Math.max(...rows.map((row) => row.maxNewTokens));
  const draws = settings.num_beams > 1 ? candidatesPerBeam * settings.num_beams : settings.num_return_sequences;
  const data = new Float32Array(rows.length * steps * draws);
  for (const [index, row] of rows.entries()) {
    // Small seeds give xoroshiro128plus a first number near 1, which draws the least probable token.
    const generator = mersenne(row.seed);
    const start = index * steps * draws;
    const end = start + row.maxNewTokens * draws;
    for (let position = start; position < end; position += 1) data[position] = uniformFloat32(generator);
  }
  return { uniforms: { data, shape: [rows.length, steps, draws] } };
}
