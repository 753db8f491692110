import type { Weights } from '../../checkpoint/weights/weights.ts';
import { NOT_COMPARED } from '../../models/heads/image-text-pairs.ts';
import type { GraphOptions } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';
import { BatchImages, type KeepingOptions, stateShapeOf } from './batch-images.ts';
import { type ImageCacheUse, sumOfUses } from './image-cache.ts';
import type { ImageResizer } from './image-resizer.ts';
import type { LoadedSession, SessionOptions } from './loaded-session.ts';
import { Pauses } from './pause.ts';
import type { RetrievalBatch, RetrievalResult } from './retrieval-batch.ts';
import { MAX_READ_TOKENS_PER_RUN } from './run-bounds.ts';
import type { Session } from './runtime.ts';
import { float32Data, joined, paddedRows, parts, runtimeInt64s } from './tensors.ts';
import { openWeightsSession } from './weights-session.ts';

/**
 * Loads a checkpoint for image-text retrieval.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadRetrievalSession<Settings>(
  writeGraph: (checkpoint: Settings, weights: Weights, options: GraphOptions) => Graph,
  resizer: ImageResizer,
  checkpoint: Settings,
  weights: Weights,
  options: SessionOptions,
  maxPairTokens = MAX_PAIR_TOKENS_PER_RUN,
): Promise<LoadedSession<'retrieval'>> {
  const graph = writeGraph(checkpoint, weights, options);
  const stateShape = stateShapeOf(graph);
  const session = await openWeightsSession(graph, weights, options);
  const parts = { session, resizer, stateShape, cache: options.imageCache };
  return {
    runs: {
      retrieval: (batch, pause) => runBatch(parts, batch, runSize(batch, maxPairTokens), new Pauses(pause)),
    },
    pack: () => session.pack(),
    release: () => session.release(),
  };
}

interface Parts extends Pick<KeepingOptions, 'stateShape' | 'cache'> {
  readonly session: Session;
  readonly resizer: ImageResizer;
}

async function runBatch(
  { session, resizer, ...keeping }: Parts,
  batch: RetrievalBatch,
  { imagesPerRun, textsPerRun }: RunSize,
  pauses: Pauses,
): Promise<RetrievalResult> {
  const startMs = performance.now();
  const rows: Part[] = [];
  const uses: (ImageCacheUse | undefined)[] = [];
  let resizeMs = 0;
  for (const given of parts(batch.images, imagesPerRun)) {
    const partStartMs = performance.now();
    const resized = await resizer.resizeAll(given);
    resizeMs += performance.now() - partStartMs;
    const clients = given.map(() => batch.client);
    const images = new BatchImages(resized, { ...keeping, clients, hasSeveralRuns: textsPerRun < batch.texts.length });
    const row: Part[] = [];
    for (const texts of parts(batch.texts, textsPerRun)) {
      await pauses.beforeRun();
      row.push(await compare(session, images, given.length, texts, batch.comparedImages));
    }
    rows.push(besideEachOther(row, given.length));
    uses.push(images.cacheUse());
  }
  const cosineSimilarity = joined(rows.map((row) => row.cosineSimilarity));
  const matchProbability = joined(rows.map((row) => row.matchProbability));
  if (rows.length > 1) keepMostSimilar(matchProbability, cosineSimilarity, batch);
  return {
    matchProbability,
    cosineSimilarity,
    imageEmbeds: joined(rows.map((row) => row.imageEmbeds)),
    textEmbeds: rows[0]?.textEmbeds ?? new Float32Array(0),
    resizeMs,
    computeMs: performance.now() - startMs - resizeMs - pauses.totalMs,
    imageCache: sumOfUses(uses),
  };
}

/**
 * The most tokens of all pairs in one run. Each pair is a text, read with its image and padded to the longest text. A
 * larger batch is computed with fewer images at a time, and then with fewer texts. The
 * attention scores of one token to an image of BLIP-large take 28 kB (12 heads, 577 patches).
 */
const MAX_PAIR_TOKENS_PER_RUN = MAX_READ_TOKENS_PER_RUN;
/** Shorter texts count as this long, so that a run has at most 256 pairs. */
const LEAST_TOKENS_PER_PAIR = 32;

interface RunSize {
  readonly imagesPerRun: number;
  readonly textsPerRun: number;
}

function runSize(batch: RetrievalBatch, maxPairTokens: number): RunSize {
  const longest = Math.max(LEAST_TOKENS_PER_PAIR, ...batch.texts.map((text) => text.length));
  const pairs = Math.max(1, Math.floor(maxPairTokens / longest));
  const textsPerRun = Math.min(batch.texts.length, pairs);
  return { textsPerRun, imagesPerRun: Math.min(batch.imagesPerRun, Math.floor(pairs / textsPerRun)) };
}

type Part = Omit<RetrievalResult, 'resizeMs' | 'computeMs' | 'imageCache'>;

/** Joins runs of the same images with different texts to the result of one run with all texts. */
function besideEachOther(row: readonly Part[], imageCount: number): Part {
  const columns = (valuesOf: (part: Part) => Float32Array) =>
    joined(
      Array.from({ length: imageCount }, (_, image) =>
        row.map((part) => {
          const textCount = valuesOf(part).length / imageCount;
          return valuesOf(part).subarray(image * textCount, (image + 1) * textCount);
        }),
      ).flat(),
    );
  return {
    matchProbability: columns((part) => part.matchProbability),
    cosineSimilarity: columns((part) => part.cosineSimilarity),
    imageEmbeds: row[0]?.imageEmbeds ?? new Float32Array(0),
    textEmbeds: joined(row.map((part) => part.textEmbeds)),
  };
}

/** Runs the graph once, for some images with some texts. */
async function compare(
  session: Session,
  images: BatchImages,
  imageCount: number,
  texts: RetrievalBatch['texts'],
  comparedImages: number,
): Promise<Part> {
  const { ids, lengths } = paddedRows(texts);
  const all = Array.from({ length: imageCount }, (_, image) => image);
  const outputs = await images.run(session, all, {
    input_ids: ids,
    text_length: lengths,
    compared_images: runtimeInt64s([Math.min(comparedImages, imageCount)], []),
  });
  return {
    matchProbability: float32Data(outputs, 'match_probability'),
    cosineSimilarity: float32Data(outputs, 'cosine_similarity'),
    imageEmbeds: float32Data(outputs, 'image_embeds'),
    textEmbeds: float32Data(outputs, 'text_embeds'),
  };
}

/** Each run compared the most similar of its own images; this keeps those that are the most similar of all images. */
function keepMostSimilar(
  matchProbability: Float32Array,
  cosineSimilarity: Float32Array,
  { images, texts, comparedImages }: RetrievalBatch,
): void {
  for (let text = 0; text < texts.length; text += 1) {
    const pairs = images.map((_, image) => image * texts.length + text);
    pairs.sort((a, b) => (cosineSimilarity[b] ?? 0) - (cosineSimilarity[a] ?? 0));
    for (const pair of pairs.slice(comparedImages)) matchProbability[pair] = NOT_COMPARED;
  }
}
