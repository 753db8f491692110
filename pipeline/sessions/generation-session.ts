import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { candidatesPerBeam } from '../../models/generation/beam-search.ts';
import type { GraphOptions } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';
import type { GenerationBatch, GenerationResult } from './generation-batch.ts';
import { rowFeeds, settingFeeds, uniformFeeds } from './generation-feeds.ts';
import type { ImageResizer } from './image-resizer.ts';
import type { LoadedSession, LoadOptions } from './loaded-session.ts';
import { type Pause, Pauses } from './pause.ts';
import { type Sequence, withOwnImages } from './row-batch.ts';
import { MAX_RUN_BYTES, MAX_TOKENS_PER_RUN, type RunBounds, splitRows } from './run-bounds.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, int64Data } from './tensors.ts';
import { openWeightsSession } from './weights-session.ts';

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
): Promise<LoadedSession<'generation'>> {
  const { text } = checkpoint.config;
  const bounds = {
    maxBytes: options.maxRunBytes ?? MAX_RUN_BYTES,
    maxTokens: options.maxRunTokens ?? MAX_TOKENS_PER_RUN,
  };
  const perBeam = candidatesPerBeam([text.sepTokenId]);
  const session = await openWeightsSession(writeGraph(checkpoint, weights, options), weights, options);
  return {
    runs: {
      generation: (batch, pause) =>
        runParts(partsOf(batch, text, bounds), pause, (part) => runBatch(session, resizer, part, perBeam)),
    },
    pack: () => session.pack(),
    release: () => session.release(),
  };
}

/** Splits a batch, in its order, into parts within the bounds of a run. An image with rows in two parts is in both. */
function partsOf({ images, rows, settings }: GenerationBatch, text: TextConfig, bounds: RunBounds) {
  return splitRows(rows, settings, text, bounds).map((part) => {
    const { rows: rowsOfPart, images: imagesOfPart } = withOwnImages(part);
    return { images: imagesOfPart.flatMap((image) => images[image] ?? []), rows: rowsOfPart, settings };
  });
}

/** Runs one part after the other. The answer of a row does not depend on the other rows of its run. */
async function runParts(
  parts: readonly GenerationBatch[],
  pause: Pause | undefined,
  runPart: (part: GenerationBatch) => Promise<GenerationResult>,
): Promise<GenerationResult> {
  const done: GenerationResult[] = [];
  const pauses = new Pauses(pause);
  for (const part of parts) {
    await pauses.beforeRun();
    done.push(await runPart(part));
  }
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
