import type { Weights } from '../../checkpoint/weights/weights.ts';
import { candidatesPerBeam } from '../../models/generation/beam-search.ts';
import type { GraphOptions } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';
import { BatchImages, type KeepingOptions, stateShapeOf } from './batch-images.ts';
import type { GenerationBatch, GenerationResult, SharedSettings } from './generation-batch.ts';
import { rowFeeds, settingFeeds, uniformFeeds } from './generation-feeds.ts';
import type { ImageResizer } from './image-resizer.ts';
import type { LoadedSession, SessionOptions } from './loaded-session.ts';
import { Pauses } from './pause.ts';
import { type Sequence, withOwnImages } from './row-batch.ts';
import { MAX_TOKENS_PER_RUN, type RunBounds, splitRows, usualRunBytes } from './run-bounds.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, int64Data } from './tensors.ts';
import type { BoundedText } from './text-size.ts';
import { openWeightsSession } from './weights-session.ts';

/** The text model of a graph that generates. */
export interface GenerationModel {
  readonly size: BoundedText;
  readonly endTokenIds: readonly number[];
}

/**
 * Loads a checkpoint that generates texts: writes its graph, and opens a session on it.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadGenerationSession<Settings>(
  writeGraph: (checkpoint: Settings, weights: Weights, options: GraphOptions) => Graph,
  model: GenerationModel,
  resizer: ImageResizer,
  checkpoint: Settings,
  weights: Weights,
  options: SessionOptions,
): Promise<LoadedSession<'generation'>> {
  const bounds = {
    maxBytes: options.maxRunBytes ?? usualRunBytes(model.size),
    maxTokens: options.maxRunTokens ?? MAX_TOKENS_PER_RUN,
  };
  const graph = writeGraph(checkpoint, weights, options);
  const stateShape = stateShapeOf(graph);
  const session = await openWeightsSession(graph, weights, options);
  const parts = { session, resizer, model, bounds, stateShape, cache: options.imageCache };
  return {
    runs: { generation: (batch, pause) => runBatch(parts, batch, new Pauses(pause)) },
    pack: () => session.pack(),
    release: () => session.release(),
  };
}

interface Parts extends Pick<KeepingOptions, 'stateShape' | 'cache'> {
  readonly session: Session;
  readonly resizer: ImageResizer;
  readonly model: GenerationModel;
  readonly bounds: RunBounds;
}

/** Runs the rows of a batch within the bounds of a run, one part after the other. */
async function runBatch(
  { session, resizer, model, bounds, ...keeping }: Parts,
  { images: given, clients = [], rows, settings }: GenerationBatch,
  pauses: Pauses,
): Promise<GenerationResult> {
  const startMs = performance.now();
  const pixels = await resizer.resizeAll(given);
  const resizedMs = performance.now();
  const rowParts = splitRows(rows, settings, model.size, bounds);
  const images = new BatchImages(pixels, { ...keeping, clients, hasSeveralRuns: rowParts.length > 1 });
  const perBeam = candidatesPerBeam(model.endTokenIds);
  const results: (readonly Sequence[])[] = [];
  for (const part of rowParts) {
    await pauses.beforeRun();
    results.push(...(await runPart(session, images, part, settings, perBeam)));
  }
  return {
    results,
    resizeMs: resizedMs - startMs,
    computeMs: performance.now() - resizedMs - pauses.totalMs,
    imageCache: images.cacheUse(),
  };
}

/** The answer of a row does not depend on the other rows of its run. */
async function runPart(
  session: Session,
  images: BatchImages,
  part: GenerationBatch['rows'],
  settings: SharedSettings,
  perBeam: number,
): Promise<readonly (readonly Sequence[])[]> {
  const own = withOwnImages(part);
  const batch = { ...own, settings };
  const outputs = await images.run(session, own.images, {
    ...rowFeeds(own.rows),
    ...settingFeeds(settings),
    ...uniformFeeds(batch, perBeam),
  });
  return readSequences(batch, outputs);
}

/** Cuts padding off the sequences that the graph returns, [rows, sequences, length]. */
function readSequences(
  { rows, settings }: Pick<GenerationBatch, 'rows' | 'settings'>,
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
