import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import type { GraphOptions } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';
import { BatchImages, type KeepingOptions, stateShapeOf } from './batch-images.ts';
import type { ImageResizer } from './image-resizer.ts';
import type { LoadedSession, SessionOptions } from './loaded-session.ts';
import { Pauses } from './pause.ts';
import type { RankedCandidate, RankingBatch, RankingResult, RankingSettings } from './ranking-batch.ts';
import { type Sequence, withOwnImages } from './row-batch.ts';
import { questionFeeds } from './row-feeds.ts';
import { MAX_READ_TOKENS_PER_RUN } from './run-bounds.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, paddedRows, parts } from './tensors.ts';
import { openWeightsSession, type WeightsSession } from './weights-session.ts';

/** The most bytes of logits in one run. More candidates and questions than this allows go through several runs. */
const MAX_LOGITS_BYTES = 256_000_000;

type WriteGraph = (checkpoint: BlipCheckpoint, weights: Weights, options: GraphOptions) => Graph;

/**
 * Prepares the ranking of candidate answers. Few requests rank candidates, so its graph and session are opened by the
 * first batch.
 * @throws CheckpointError, at the first batch, when the checkpoint cannot be served.
 */
export function prepareRankingSession(
  writeGraph: WriteGraph,
  resizer: ImageResizer,
  checkpoint: BlipCheckpoint,
  weights: Weights,
  options: SessionOptions,
  maxLogitsBytes = MAX_LOGITS_BYTES,
): LoadedSession<'ranking'> {
  const tokenBytes = checkpoint.config.text.vocabularySize * Float32Array.BYTES_PER_ELEMENT;
  const maxTokens = options.maxRunTokens ?? MAX_READ_TOKENS_PER_RUN;
  const limits = { scoredTokens: Math.min(maxLogitsBytes / tokenBytes, maxTokens), questionTokens: maxTokens };
  let opened: { readonly session: WeightsSession; readonly stateShape: readonly number[] | undefined } | undefined;
  const open = async () => {
    const graph = writeGraph(checkpoint, weights, options);
    return { stateShape: stateShapeOf(graph), session: await openWeightsSession(graph, weights, options) };
  };
  return {
    runs: {
      async ranking(batch, pause) {
        opened ??= await open();
        const parts = { ...opened, resizer, limits, cache: options.imageCache };
        return await rankCandidates(parts, batch, new Pauses(pause));
      },
    },
    pack: async () => await opened?.session.pack(),
    release: async () => await opened?.session.release(),
  };
}

/** Tokens of one run: of candidates, which have logits; and of questions, each of which looks at its image. */
interface RunLimits {
  readonly scoredTokens: number;
  readonly questionTokens: number;
}

interface Parts extends Pick<KeepingOptions, 'stateShape' | 'cache'> {
  readonly session: Session;
  readonly resizer: ImageResizer;
  readonly limits: RunLimits;
}

/** Scores every row with every candidate, and keeps the best of each row. */
async function rankCandidates(
  { session, resizer, limits, ...keeping }: Parts,
  { images: given, clients = [], rows, settings }: RankingBatch,
  pauses: Pauses,
): Promise<RankingResult> {
  const startMs = performance.now();
  const resized = await resizer.resizeAll(given);
  const resizedMs = performance.now();
  const { candidateIds, returnedCount } = settings;
  const { rowsPerRun, candidatesPerRun } = runSize(candidateIds, rows, limits);
  const hasSeveralRuns = rowsPerRun < rows.length || candidatesPerRun < candidateIds.length;
  const images = new BatchImages(resized, { ...keeping, clients, hasSeveralRuns });
  const results: (readonly RankedCandidate[])[] = [];
  for (const rowsOfRun of parts(rows, rowsPerRun)) {
    const scored: RankedCandidate[][] = rowsOfRun.map(() => []);
    for (const [part, candidates] of parts(candidateIds, candidatesPerRun).entries()) {
      await pauses.beforeRun();
      const scoredPart = await scoreCandidates(session, images, rowsOfRun, candidates);
      for (const [row, ofRow] of scoredPart.entries())
        scored[row]?.push(...ofRow.map((each, index) => ({ ...each, candidate: part * candidatesPerRun + index })));
    }
    results.push(...scored.map((ofRow) => ofRow.sort((a, b) => b.score - a.score).slice(0, returnedCount)));
  }
  const computeMs = performance.now() - resizedMs - pauses.totalMs;
  return { results, resizeMs: resizedMs - startMs, computeMs, imageCache: images.cacheUse() };
}

/**
 * How much one run computes. All candidates of few rows come before few candidates of all rows, because every run reads the
 * questions of its rows again.
 */
function runSize(
  candidates: RankingSettings['candidateIds'],
  rows: RankingBatch['rows'],
  { scoredTokens, questionTokens }: RunLimits,
): { readonly rowsPerRun: number; readonly candidatesPerRun: number } {
  const longest = Math.max(...candidates.map((candidate) => candidate.length));
  const sequencesPerRun = Math.max(1, Math.floor(scoredTokens / longest));
  const candidatesPerRun = Math.min(candidates.length, sequencesPerRun);
  const longestQuestion = Math.max(...rows.map(({ questionIds }) => questionIds.length));
  const byScores = Math.floor(sequencesPerRun / candidatesPerRun);
  const byQuestions = Math.floor(questionTokens / longestQuestion);
  return { candidatesPerRun, rowsPerRun: Math.max(1, Math.min(byScores, byQuestions)) };
}

/** Runs the graph once, for some rows with some candidates. [rows][candidates] */
async function scoreCandidates(
  session: Session,
  batchImages: BatchImages,
  rowsOfRun: RankingBatch['rows'],
  candidates: RankingSettings['candidateIds'],
): Promise<readonly (readonly Sequence[])[]> {
  const { rows, images } = withOwnImages(rowsOfRun);
  const outputs = await batchImages.run(session, images, { ...questionFeeds(rows), ...candidateFeeds(candidates) });
  const logprobs = float32Data(outputs, 'token_logprobs'); // [rows, candidates, length]
  const length = outputs['token_logprobs']?.shape[2] ?? 0;
  return rows.map((_, row) =>
    candidates.map((tokenIds, candidate) => {
      const start = (row * candidates.length + candidate) * length;
      const tokenLogprobs = Array.from(logprobs.subarray(start, start + tokenIds.length));
      const score = tokenLogprobs.reduce((sum, logprob) => sum + logprob, 0);
      return { tokenIds, tokenLogprobs, generatedCount: tokenIds.length - 1, score };
    }),
  );
}

function candidateFeeds(candidates: RankingSettings['candidateIds']): Record<string, RuntimeTensor> {
  const { ids, lengths } = paddedRows(candidates);
  return { candidate_ids: ids, candidate_length: lengths };
}
