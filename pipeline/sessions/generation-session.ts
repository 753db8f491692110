import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { candidatesPerBeam } from '../../models/generation/beam-search.ts';
import type { GraphOptions } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';
import type { GenerationBatch, GenerationResult, GenerationRow, SharedSettings } from './generation-batch.ts';
import { rowFeeds, settingFeeds, uniformFeeds } from './generation-feeds.ts';
import type { ImageResizer } from './image-resizer.ts';
import type { LoadedSession, LoadOptions } from './loaded-session.ts';
import { type OfImage, type Sequence, withOwnImages } from './row-batch.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, int64Data } from './tensors.ts';
import { openWeightsSession } from './weights-session.ts';

/**
 * The most bytes of caches and logits of all sequences in one run. More rows than this allows go through several runs,
 * and an image whose rows are in two runs gets two vision passes. One row is never split: 32 beams of 512 tokens of
 * BLIP-large take 1.2 GB.
 */
const MAX_SEQUENCE_BYTES = 1_000_000_000;

/**
 * Loads a checkpoint that generates captions or answers: writes its graph, and opens a session on it.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadGenerationSession(
  writeGraph: (checkpoint: BlipCheckpoint, weights: Weights, options: GraphOptions) => Graph,
  resizer: ImageResizer,
  checkpoint: BlipCheckpoint,
  weights: Weights,
  options: LoadOptions,
  maxSequenceBytes = MAX_SEQUENCE_BYTES,
): Promise<LoadedSession<'generation'>> {
  const { text } = checkpoint.config;
  const perBeam = candidatesPerBeam([text.sepTokenId]);
  const session = await openWeightsSession(writeGraph(checkpoint, weights, options), weights, options);
  return {
    runs: {
      generation: (batch) =>
        runParts(partsOf(batch, text, maxSequenceBytes), (part) => runBatch(session, resizer, part, perBeam)),
    },
    release: () => session.release(),
  };
}

type BatchRow = OfImage<GenerationRow>;

/** The memory of the sequences of rows that are computed together: they are padded to the longest. */
function sequenceBytesOf(rows: readonly BatchRow[], settings: SharedSettings, text: TextConfig): number {
  const longest = (lengthOf: (row: BatchRow) => number) => Math.max(...rows.map(lengthOf));
  const positions =
    longest(({ inputIds }) => inputIds.length) +
    longest(({ questionIds }) => questionIds?.length ?? 0) +
    longest(({ maxNewTokens }) => maxNewTokens);
  const keysAndValuesBytes = text.layerCount * 2 * text.hiddenSize * Float32Array.BYTES_PER_ELEMENT;
  const logitsBytes = text.vocabularySize * Float32Array.BYTES_PER_ELEMENT;
  const sequences = rows.length * Math.max(settings.num_beams, settings.num_return_sequences);
  return sequences * (positions * keysAndValuesBytes + logitsBytes);
}

/** Splits a batch, in its order, into parts of at most so many bytes, or of one row. */
function partsOf(
  { images, rows, settings }: GenerationBatch,
  text: TextConfig,
  maxBytes: number,
): readonly GenerationBatch[] {
  const parts: BatchRow[][] = [];
  for (const row of rows) {
    const part = parts.at(-1);
    const fits = part !== undefined && sequenceBytesOf([...part, row], settings, text) <= maxBytes;
    if (fits) part.push(row);
    else parts.push([row]);
  }
  return parts.map((part) => {
    const { rows: rowsOfPart, images: imagesOfPart } = withOwnImages(part);
    return { images: imagesOfPart.flatMap((image) => images[image] ?? []), rows: rowsOfPart, settings };
  });
}

/** Runs one part after the other. The answer of a row does not depend on the other rows of its run. */
async function runParts(
  parts: readonly GenerationBatch[],
  runPart: (part: GenerationBatch) => Promise<GenerationResult>,
): Promise<GenerationResult> {
  const done: GenerationResult[] = [];
  for (const part of parts) done.push(await runPart(part));
  const sum = (times: readonly number[]) => times.reduce((total, time) => total + time, 0);
  return {
    results: done.flatMap(({ results }) => results),
    resizeMs: sum(done.map(({ resizeMs }) => resizeMs)),
    computeMs: sum(done.map(({ computeMs }) => computeMs)),
  };
}

async function runBatch(
  session: Session,
  resizer: ImageResizer,
  batch: GenerationBatch,
  perBeam: number,
): Promise<GenerationResult> {
  const startMs = performance.now();
  const images = await resizer.resizeAll(batch.images);
  const resizedMs = performance.now();
  const outputs = await session.run({
    images,
    ...rowFeeds(batch.rows),
    ...settingFeeds(batch.settings),
    ...uniformFeeds(batch, perBeam),
  });
  return {
    results: readSequences(batch, outputs),
    resizeMs: resizedMs - startMs,
    computeMs: performance.now() - resizedMs,
  };
}

/** Cuts padding off the sequences that the graph returns, [rows, sequences, length]. */
function readSequences(
  { rows, settings }: GenerationBatch,
  outputs: Readonly<Record<string, RuntimeTensor>>,
): readonly (readonly Sequence[])[] {
  const [allIds, allEnds] = [int64Data(outputs, 'token_ids'), int64Data(outputs, 'sequence_end')];
  const [allLogprobs, allScores] = [float32Data(outputs, 'token_logprobs'), float32Data(outputs, 'sequence_score')];
  const length = outputs['token_ids']?.shape[2] ?? 0;
  const promptLength = Math.max(...rows.map((row) => row.inputIds.length));
  return rows.map((row, rowIndex) =>
    Array.from({ length: settings.num_return_sequences }, (_, offset) => {
      const sequence = rowIndex * settings.num_return_sequences + offset;
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
