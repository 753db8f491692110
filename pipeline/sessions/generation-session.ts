import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { earlyStopping } from '../../models/generation/parameters.ts';
import { answerRankingGraph } from '../../models/heads/answer-ranking.ts';
import { captioningGraph } from '../../models/heads/captioning.ts';
import { questionAnsweringGraph } from '../../models/heads/question-answering.ts';
import type { RgbImage } from '../images/image-decode.ts';
import type { GenerationSettings } from './generation-settings.ts';
import { createImageResizer, type ImageResizer } from './image-resizer.ts';
import type { LoadedSession, LoadOptions } from './loaded-session.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, int64Data, paddedRows, runtimeFloat32, runtimeInt64s } from './tensors.ts';
import { openWeightsSession } from './weights-session.ts';

/** One text to generate: plain data that crosses threads. */
export interface GenerationRow {
  /** Index into the batch's images. */
  readonly image: number;
  /** What the text begins with: [DEC] and the prompt, without [SEP]. */
  readonly inputIds: readonly number[];
  /** Question answering: [CLS], the question and [SEP]. */
  readonly questionIds?: readonly number[];
  readonly maxNewTokens: number;
  readonly minNewTokens: number;
  readonly seed: number;
}

export type SharedSettings = Omit<GenerationSettings, 'maxNewTokens' | 'minNewTokens' | 'seed'> & {
  /** Question answering: the only answers there are, each [DEC], an answer and [SEP]. They are ranked. */
  readonly candidateIds?: readonly (readonly number[])[];
};

/** Rows that are computed together. They share everything but prompt, lengths and seed. */
export interface GenerationBatch {
  readonly images: readonly RgbImage[];
  readonly rows: readonly GenerationRow[];
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
  /** Which of `candidateIds` it is. */
  readonly candidate?: number;
}

export interface GenerationResult {
  /** For each row, its sequences, best first. */
  readonly sequences: readonly (readonly GeneratedSequence[])[];
  readonly resizeMs: number;
  readonly computeMs: number;
}

interface RunLimits {
  /** The logits of a ranking are its memory: more candidates and questions than this allows go through several runs. */
  readonly rankingLogitsBytes: number;
  /**
   * The caches and logits of all sequences of a run: more rows than this allows go through several, and an image whose
   * rows are parted is looked at again. One row goes whatever it takes: 32 beams of 512 tokens of BLIP-large, 1.2 GB.
   */
  readonly sequenceBytes: number;
}

const usualLimits: RunLimits = { rankingLogitsBytes: 256_000_000, sequenceBytes: 1_000_000_000 };

/**
 * Loads a checkpoint that generates text, captions or answers: writes its graphs, and opens a session on each.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadGenerationSession(
  checkpoint: BlipCheckpoint,
  weights: Weights,
  options: LoadOptions,
  limits: Partial<RunLimits> = {},
): Promise<LoadedSession<GenerationBatch, GenerationResult>> {
  const graph = checkpoint.task === 'question-answering' ? questionAnsweringGraph : captioningGraph;
  const session = await openWeightsSession(graph(checkpoint, weights), weights, options);
  let ranking: Session | undefined; // Few requests rank candidates: its session waits for the first.
  const openRanking = () => openWeightsSession(answerRankingGraph(checkpoint, weights), weights, options);
  const { imageSize } = checkpoint.config.vision;
  const { rankingLogitsBytes, sequenceBytes } = { ...usualLimits, ...limits };
  const tokensPerRun = rankingLogitsBytes / logitsBytes(checkpoint.config.text);
  const resizer = await createImageResizer(checkpoint.imageProcessor, imageSize, options.threadCount);
  return {
    async run(batch) {
      if (batch.settings.candidateIds === undefined) {
        const parts = partsOf(batch, checkpoint.config.text, sequenceBytes);
        return await runParts(session, resizer, parts);
      }
      const { candidateIds: candidates } = batch.settings;
      ranking ??= await openRanking();
      return await rankCandidates(ranking, resizer, batch, { candidates, tokensPerRun });
    },
    async release() {
      await session.release();
      await ranking?.release();
      await resizer.release();
    },
  };
}

/** What one token's logits take. */
function logitsBytes({ vocabularySize }: TextConfig): number {
  return vocabularySize * Float32Array.BYTES_PER_ELEMENT;
}

/** What the sequences of rows take that are computed together: they are padded to the longest. */
function sequenceBytesOf(rows: readonly GenerationRow[], settings: SharedSettings, text: TextConfig): number {
  const longest = (lengthOf: (row: GenerationRow) => number) => Math.max(...rows.map(lengthOf));
  const positions =
    longest(({ inputIds }) => inputIds.length) +
    longest(({ questionIds }) => questionIds?.length ?? 0) +
    longest(({ maxNewTokens }) => maxNewTokens);
  const keysAndValuesBytes = text.layerCount * 2 * text.hiddenSize * Float32Array.BYTES_PER_ELEMENT;
  const sequences = rows.length * Math.max(settings.numBeams, settings.numReturnSequences);
  return sequences * (positions * keysAndValuesBytes + logitsBytes(text));
}

/** The batch in its order, in parts that take at most so many bytes each, or are one row. */
function partsOf(batch: GenerationBatch, text: TextConfig, maxBytes: number): readonly GenerationBatch[] {
  const parts: GenerationRow[][] = [];
  for (const row of batch.rows) {
    const part = parts.at(-1);
    const fits = part !== undefined && sequenceBytesOf([...part, row], batch.settings, text) <= maxBytes;
    if (fits) part.push(row);
    else parts.push([row]);
  }
  return parts.map((rows) => withOwnImages(rows, batch));
}

function withOwnImages(rows: readonly GenerationRow[], { images, settings }: GenerationBatch): GenerationBatch {
  const own = [...new Set(rows.map(({ image }) => image))];
  return {
    images: own.flatMap((image) => images[image] ?? []),
    rows: rows.map((row) => ({ ...row, image: own.indexOf(row.image) })),
    settings,
  };
}

/** One after the other. A row's answer does not depend on what else is in its run. */
async function runParts(
  session: Session,
  resizer: ImageResizer,
  parts: readonly GenerationBatch[],
): Promise<GenerationResult> {
  const results: GenerationResult[] = [];
  for (const part of parts) results.push(await runBatch(session, resizer, part));
  const sum = (times: readonly number[]) => times.reduce((total, time) => total + time, 0);
  return {
    sequences: results.flatMap(({ sequences }) => sequences),
    resizeMs: sum(results.map(({ resizeMs }) => resizeMs)),
    computeMs: sum(results.map(({ computeMs }) => computeMs)),
  };
}

async function runBatch(session: Session, resizer: ImageResizer, batch: GenerationBatch): Promise<GenerationResult> {
  const startMs = performance.now();
  const images = await resizer.resizeAll(batch.images);
  const resizedMs = performance.now();
  const outputs = await session.run({ images, ...rowInputs(batch.rows), ...settingInputs(batch) });
  return {
    sequences: readSequences(batch, outputs),
    resizeMs: resizedMs - startMs,
    computeMs: performance.now() - resizedMs,
  };
}

/** Every row with every candidate, best first. */
async function rankCandidates(
  session: Session,
  resizer: ImageResizer,
  { images, rows, settings }: GenerationBatch,
  { candidates, tokensPerRun }: { readonly candidates: readonly (readonly number[])[]; readonly tokensPerRun: number },
): Promise<GenerationResult> {
  const startMs = performance.now();
  const resized = await resizer.resizeAll(images);
  const resizedMs = performance.now();
  const longest = Math.max(...candidates.map((candidate) => candidate.length));
  const sequencesPerRun = Math.max(1, Math.floor(tokensPerRun / longest));
  const candidatesPerRun = Math.min(candidates.length, sequencesPerRun);
  const rowsPerRun = Math.max(1, Math.floor(sequencesPerRun / candidatesPerRun));
  const scored: GeneratedSequence[][] = rows.map(() => []);
  for (let firstRow = 0; firstRow < rows.length; firstRow += rowsPerRun) {
    for (let first = 0; first < candidates.length; first += candidatesPerRun) {
      const part = { rows: rows.slice(firstRow, firstRow + rowsPerRun), first };
      const own = await scoreCandidates(session, resized, part, candidates.slice(first, first + candidatesPerRun));
      for (const [index, sequences] of own.entries()) scored[firstRow + index]?.push(...sequences);
    }
  }
  return {
    sequences: scored.map((sequences) =>
      sequences.sort((a, b) => b.score - a.score).slice(0, settings.numReturnSequences),
    ),
    resizeMs: resizedMs - startMs,
    computeMs: performance.now() - resizedMs,
  };
}

/** One run; `first` is the number of its first candidate among all. */
async function scoreCandidates(
  session: Session,
  images: RuntimeTensor,
  { rows, first }: { readonly rows: readonly GenerationRow[]; readonly first: number },
  candidates: readonly (readonly number[])[],
): Promise<readonly (readonly GeneratedSequence[])[]> {
  const { ids, lengths } = paddedRows(candidates);
  const outputs = await session.run({
    images,
    image_index: runtimeInt64s(rows.map((row) => row.image)),
    ...questionInputs(rows),
    candidate_ids: ids,
    candidate_length: lengths,
  });
  const logprobs = float32Data(outputs, 'token_logprobs');
  const longest = ids.shape[1] ?? 0;
  return rows.map((_, row) =>
    candidates.map((tokenIds, candidate) => {
      const start = (row * candidates.length + candidate) * longest;
      const tokenLogprobs = Array.from(logprobs.subarray(start, start + tokenIds.length));
      const score = tokenLogprobs.reduce((sum, logprob) => sum + logprob, 0);
      return { tokenIds, tokenLogprobs, generatedCount: tokenIds.length - 1, score, candidate: first + candidate };
    }),
  );
}

/** Shorter prompts are padded on the left with their own first token. */
function rowInputs(rows: readonly GenerationRow[]): Record<string, RuntimeTensor> {
  const length = Math.max(...rows.map((row) => row.inputIds.length));
  const padded = rows.flatMap(({ inputIds }) => [
    ...Array.from({ length: length - inputIds.length }, () => inputIds[0] ?? 0),
    ...inputIds,
  ]);
  return {
    image_index: runtimeInt64s(rows.map((row) => row.image)),
    input_ids: runtimeInt64s(padded, [rows.length, length]),
    padding_length: runtimeInt64s(rows.map((row) => length - row.inputIds.length)),
    ...questionInputs(rows),
    max_new_tokens: runtimeInt64s(rows.map((row) => row.maxNewTokens)),
    min_new_tokens: runtimeInt64s(rows.map((row) => row.minNewTokens)),
  };
}

/** All rows of a batch have a question, or none has. */
function questionInputs(rows: readonly GenerationRow[]): Record<string, RuntimeTensor> {
  const questions = rows.map((row) => row.questionIds).filter((ids) => ids !== undefined);
  if (questions.length === 0) return {};
  const { ids, lengths } = paddedRows(questions);
  return { question_ids: ids, question_length: lengths };
}

function settingInputs({ rows, settings }: GenerationBatch): Record<string, RuntimeTensor> {
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
 * The numbers that sampling draws with, [rows, steps, draws]. Each row has a stream of its own, so that it draws the
 * same in any batch. A step of beam search draws twice as many continuations as there are beams.
 */
function uniforms(rows: readonly GenerationRow[], settings: SharedSettings): RuntimeTensor {
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
  { rows, settings }: GenerationBatch,
  outputs: Readonly<Record<string, RuntimeTensor>>,
): readonly (readonly GeneratedSequence[])[] {
  const [allIds, allEnds] = [int64Data(outputs, 'token_ids'), int64Data(outputs, 'sequence_end')];
  const [allLogprobs, allScores] = [float32Data(outputs, 'token_logprobs'), float32Data(outputs, 'sequence_score')];
  const length = outputs['token_ids']?.shape[2] ?? 0;
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
