import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { earlyStopping } from '../../models/generation/parameters.ts';
import type { GenerationBatch } from './generation-batch.ts';
import { questionFeeds } from './row-feeds.ts';
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
    input_ids: runtimeInt64s(padded, [rows.length, length]),
    padding_length: runtimeInt64s(rows.map((row) => length - row.inputIds.length)),
    max_new_tokens: runtimeInt64s(rows.map((row) => row.maxNewTokens)),
    min_new_tokens: runtimeInt64s(rows.map((row) => row.minNewTokens)),
  };
}

/** The settings that all rows share, and the random numbers that sampling draws with. */
export function settingFeeds({ rows, settings }: Omit<GenerationBatch, 'images'>): Record<string, RuntimeTensor> {
  return {
    num_beams: runtimeInt64s([settings.numBeams], []),
    num_return_sequences: runtimeInt64s([settings.numReturnSequences], []),
    length_penalty: runtimeFloat32(settings.lengthPenalty),
    early_stopping: runtimeInt64s([earlyStopping[settings.earlyStopping]], []),
    repetition_penalty: runtimeFloat32(settings.repetitionPenalty),
    no_repeat_ngram_size: runtimeInt64s([settings.noRepeatNgramSize], []),
    do_sample: { data: Uint8Array.of(settings.doSample ? 1 : 0), shape: [], isBool: true },
    temperature: runtimeFloat32(settings.temperature),
    top_k: runtimeInt64s([settings.topK], []),
    top_p: runtimeFloat32(settings.topP),
    uniforms: settings.doSample ? uniforms(rows, settings) : { data: new Float32Array(1), shape: [1, 1, 1] },
  };
}

/**
 * Random numbers from 0 up to 1, [rows, steps, draws]. Each row has its own stream, so that it draws the same tokens in
 * any batch. A step of beam search draws twice as many continuations as there are beams.
 */
function uniforms(rows: GenerationBatch['rows'], settings: GenerationBatch['settings']): RuntimeTensor {
  const steps = Math.max(...rows.map((row) => row.maxNewTokens));
  const draws = settings.numBeams > 1 ? 2 * settings.numBeams : settings.numReturnSequences;
  const data = new Float32Array(rows.length * steps * draws);
  for (const [index, row] of rows.entries()) {
    const generator = xoroshiro128plus(row.seed);
    const start = index * steps * draws;
    const end = start + row.maxNewTokens * draws;
    for (let position = start; position < end; position += 1) data[position] = uniformFloat32(generator);
  }
  return { data, shape: [rows.length, steps, draws] };
}
