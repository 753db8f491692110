import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.ts';
import { openWeights, type Weights } from '../checkpoint/weights.ts';
import { captioningGraph } from '../models/captioning.ts';
import { earlyStopping } from '../models/generation/parameters.ts';
import { resizeGraph } from '../models/image-processor.ts';
import type { GenerationSettings } from './generation-settings.ts';
import type { RgbImage } from './image-decode.ts';
import { createSession, type ExecutionProvider, type RuntimeTensor, type Session } from './runtime.ts';

/** One caption to make: plain data that crosses threads. */
export interface CaptioningRow {
  /** Index into the batch's images. */
  readonly image: number;
  /** [DEC] and the prompt, without [SEP]. */
  readonly inputIds: readonly number[];
  readonly maxNewTokens: number;
  readonly minNewTokens: number;
  readonly seed: number;
}

export type SharedSettings = Omit<GenerationSettings, 'maxNewTokens' | 'minNewTokens' | 'seed'>;

/** Rows that are computed together. They share everything but prompt, lengths and seed. */
export interface CaptioningBatch {
  readonly images: readonly RgbImage[];
  readonly rows: readonly CaptioningRow[];
  readonly settings: SharedSettings;
}

/** One generated sequence. */
export interface GeneratedSequence {
  /** Start token, prompt and caption, up to the end token. */
  readonly tokenIds: readonly number[];
  /** One for each token; 0 for start token and prompt. */
  readonly tokenLogprobs: readonly number[];
  /** How many of the tokens were generated. */
  readonly generatedCount: number;
  readonly score: number;
}

export interface CaptioningResult {
  /** For each row, its sequences, best first. */
  readonly sequences: readonly (readonly GeneratedSequence[])[];
  readonly resizeMs: number;
  readonly generateMs: number;
}

export interface CaptioningModel {
  run(batch: CaptioningBatch): Promise<CaptioningResult>;
  release(): Promise<void>;
}

/**
 * Loads a captioning checkpoint: writes its graphs, and opens a session on each.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadCaptioningModel(
  folder: string,
  options: { readonly executionProvider: ExecutionProvider; readonly threadCount: number },
): Promise<CaptioningModel> {
  const checkpoint = openCheckpoint(folder);
  const weights = openWeights(folder);
  const session = await createSession(captioningGraph(checkpoint, weights), {
    ...options,
    dataFolder: weights.dataFolder,
    foldConstants: !allFloat32(weights),
  });
  const { resize } = checkpoint.imageProcessor;
  const resizer =
    resize === undefined
      ? undefined
      : await createSession(resizeGraph(resize), { ...options, executionProvider: 'cpu' });
  return {
    run: (batch) => runBatch(checkpoint, session, resizer, batch),
    async release() {
      await session.release();
      await resizer?.release();
    },
  };
}

function allFloat32(weights: Weights): boolean {
  return [...weights.regions.values()].every(({ dtype }) => dtype !== 'F16' && dtype !== 'BF16');
}

async function runBatch(
  checkpoint: Checkpoint,
  session: Session,
  resizer: Session | undefined,
  batch: CaptioningBatch,
): Promise<CaptioningResult> {
  const startMs = performance.now();
  const images = await resizeAll(batch.images, checkpoint.config.vision.imageSize, resizer);
  const resizedMs = performance.now();
  const outputs = await session.run({ images, ...rowInputs(batch.rows), ...settingInputs(batch) });
  return {
    sequences: readSequences(batch, outputs),
    resizeMs: resizedMs - startMs,
    generateMs: performance.now() - resizedMs,
  };
}

/** All images at the model's size, in one tensor uint8 [images, size, size, 3]. */
async function resizeAll(
  images: readonly RgbImage[],
  size: number,
  resizer: Session | undefined,
): Promise<RuntimeTensor> {
  const lengthBytes = size * size * 3;
  const data = new Uint8Array(images.length * lengthBytes);
  for (const [index, image] of images.entries()) {
    data.set(await resizeOne(image, size, resizer), index * lengthBytes);
  }
  return { data, shape: [images.length, size, size, 3] };
}

async function resizeOne(image: RgbImage, size: number, resizer: Session | undefined): Promise<Uint8Array> {
  if (resizer === undefined || (image.height === size && image.width === size)) return image.data;
  const { resized } = await resizer.run({ image: { data: image.data, shape: [1, image.height, image.width, 3] } });
  if (!(resized?.data instanceof Uint8Array)) throw new TypeError('Expected the resize graph to return uint8.');
  return resized.data;
}

/** Shorter prompts are padded on the left with their own first token. */
function rowInputs(rows: readonly CaptioningRow[]): Record<string, RuntimeTensor> {
  const length = Math.max(...rows.map((row) => row.inputIds.length));
  const padded = rows.flatMap(({ inputIds }) => [
    ...Array.from({ length: length - inputIds.length }, () => inputIds[0] ?? 0),
    ...inputIds,
  ]);
  return {
    image_index: int64s(rows.map((row) => row.image)),
    input_ids: int64s(padded, [rows.length, length]),
    padding_length: int64s(rows.map((row) => length - row.inputIds.length)),
    max_new_tokens: int64s(rows.map((row) => row.maxNewTokens)),
    min_new_tokens: int64s(rows.map((row) => row.minNewTokens)),
  };
}

function settingInputs({ rows, settings }: CaptioningBatch): Record<string, RuntimeTensor> {
  return {
    num_beams: int64s([settings.numBeams], []),
    num_return_sequences: int64s([settings.numReturnSequences], []),
    length_penalty: float32(settings.lengthPenalty),
    early_stopping: int64s([earlyStopping[settings.earlyStopping]], []),
    repetition_penalty: float32(settings.repetitionPenalty),
    no_repeat_ngram_size: int64s([settings.noRepeatNgramSize], []),
    do_sample: { data: Uint8Array.of(settings.doSample ? 1 : 0), shape: [], isBool: true },
    temperature: float32(settings.temperature),
    top_k: int64s([settings.topK], []),
    top_p: float32(settings.topP),
    uniforms: settings.doSample ? uniforms(rows, settings) : { data: new Float32Array(1), shape: [1, 1, 1] },
  };
}

/**
 * The numbers that sampling draws with, [rows, steps, draws]. Each row has a stream of its own, so that it draws the
 * same in any batch. A step of beam search draws twice as many continuations as there are beams.
 */
function uniforms(rows: readonly CaptioningRow[], settings: SharedSettings): RuntimeTensor {
  const steps = Math.max(...rows.map((row) => row.maxNewTokens));
  const draws = settings.numBeams > 1 ? 2 * settings.numBeams : settings.numReturnSequences;
  const data = new Float32Array(rows.length * steps * draws);
  for (const [index, row] of rows.entries()) {
    const generator = xoroshiro128plus(row.seed);
    const start = index * steps * draws;
    for (let place = start; place < start + row.maxNewTokens * draws; place += 1)
      data[place] = uniformFloat32(generator);
  }
  return { data, shape: [rows.length, steps, draws] };
}

function readSequences(
  { rows, settings }: CaptioningBatch,
  outputs: Readonly<Record<string, RuntimeTensor>>,
): readonly (readonly GeneratedSequence[])[] {
  const { token_ids: ids, token_logprobs: logprobs, sequence_end: ends, sequence_score: scores } = outputs;
  if (!(ids?.data instanceof BigInt64Array && ends?.data instanceof BigInt64Array))
    throw new TypeError('Expected int64 tokens.');
  if (!(logprobs?.data instanceof Float32Array && scores?.data instanceof Float32Array))
    throw new TypeError('Expected float32 scores.');
  const [allIds, allEnds, allLogprobs, allScores] = [ids.data, ends.data, logprobs.data, scores.data];
  const length = ids.shape[2] ?? 0;
  const promptLength = Math.max(...rows.map((row) => row.inputIds.length));
  return rows.map((row, rowIndex) =>
    Array.from({ length: settings.numReturnSequences }, (_, offset) => {
      const sequence = rowIndex * settings.numReturnSequences + offset;
      const from = sequence * length + promptLength - row.inputIds.length;
      const to = sequence * length + Number(allEnds[sequence]);
      return {
        tokenIds: Array.from(allIds.subarray(from, to), Number),
        tokenLogprobs: Array.from(allLogprobs.subarray(from, to)),
        generatedCount: to - from - row.inputIds.length,
        score: allScores[sequence] ?? 0,
      };
    }),
  );
}

function int64s(values: readonly number[], shape: readonly number[] = [values.length]): RuntimeTensor {
  return { data: BigInt64Array.from(values, BigInt), shape };
}

function float32(value: number): RuntimeTensor {
  return { data: Float32Array.of(value), shape: [] };
}
