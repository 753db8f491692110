import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { NOT_COMPARED, retrievalGraph } from '../../models/heads/retrieval.ts';
import { createImageResizer } from './image-resizer.ts';
import type { ImageBatch, LoadedSession, LoadOptions } from './loaded-session.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, joined, paddedRows, parts, runtimeInt64s } from './tensors.ts';
import { openWeightsSession } from './weights-session.ts';

/** Images that are compared with texts. */
export interface RetrievalBatch extends ImageBatch {
  /** Each [CLS], the text and [SEP]. */
  readonly texts: readonly (readonly number[])[];
  /** For each text, how many images, the most similar ones, ITM compares it with; 0 for none. */
  readonly comparedImages: number;
  /** The most images that are computed at a time. */
  readonly imagesPerRun: number;
}

/** Everything row by row: [images, texts], [images, length], [texts, length]. */
export interface RetrievalResult {
  /** -1 for pairs that ITM did not compare. */
  readonly matchProbability: Float32Array;
  readonly cosineSimilarity: Float32Array;
  readonly imageEmbeds: Float32Array;
  readonly textEmbeds: Float32Array;
  readonly resizeMs: number;
  readonly computeMs: number;
}

/** @throws CheckpointError when the folder cannot be served. */
export async function loadRetrievalSession(
  checkpoint: BlipCheckpoint,
  weights: Weights,
  options: LoadOptions,
  maxPairTokens = MAX_PAIR_TOKENS_PER_RUN,
): Promise<LoadedSession<RetrievalBatch, RetrievalResult>> {
  const session = await openWeightsSession(retrievalGraph(checkpoint, weights), weights, options);
  const { imageSize } = checkpoint.config.vision;
  const resizer = await createImageResizer(checkpoint.imageProcessor, imageSize, options.threadCount);
  return {
    async run(batch) {
      const startMs = performance.now();
      const { imagesPerRun, textsPerRun } = runSize(batch, maxPairTokens);
      const rows: Part[] = [];
      let resizeMs = 0;
      for (const own of parts(batch.images, imagesPerRun)) {
        const partStartMs = performance.now();
        const images = await resizer.resizeAll(own);
        resizeMs += performance.now() - partStartMs;
        const row: Part[] = [];
        for (const texts of parts(batch.texts, textsPerRun))
          row.push(await compare(session, images, texts, batch.comparedImages));
        rows.push(besideEachOther(row, own.length));
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
        computeMs: performance.now() - startMs - resizeMs,
      };
    },
    async release() {
      await session.release();
      await resizer.release();
    },
  };
}

/**
 * Each pair is a text that is read with its image, padded to the longest: beyond this, fewer images at a time, and then
 * fewer texts, for which the images are looked at again. The scores of one token's attention to an image of BLIP-large
 * take 28 kB (12 heads, 577 patches).
 */
const MAX_PAIR_TOKENS_PER_RUN = 16_384;
/** Shorter texts count as this long: 512 pairs are the most. */
const LEAST_TOKENS_PER_PAIR = 32;

function runSize(
  batch: RetrievalBatch,
  maxPairTokens: number,
): { readonly imagesPerRun: number; readonly textsPerRun: number } {
  const longest = Math.max(LEAST_TOKENS_PER_PAIR, ...batch.texts.map((text) => text.length));
  const pairs = Math.max(1, Math.floor(maxPairTokens / longest));
  const textsPerRun = Math.min(batch.texts.length, pairs);
  return { textsPerRun, imagesPerRun: Math.min(batch.imagesPerRun, Math.floor(pairs / textsPerRun)) };
}

type Part = Omit<RetrievalResult, 'resizeMs' | 'computeMs'>;

/** Runs of the same images with different texts, as one run with all texts would have given it. */
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

/** One run: some images with some texts. */
async function compare(
  session: Session,
  images: RuntimeTensor,
  texts: RetrievalBatch['texts'],
  comparedImages: number,
): Promise<Part> {
  const { ids, lengths } = paddedRows(texts);
  const outputs = await session.run({
    images,
    input_ids: ids,
    text_length: lengths,
    compared_images: runtimeInt64s([Math.min(comparedImages, images.shape[0] ?? 0)], []),
  });
  return {
    matchProbability: float32Data(outputs, 'match_probability'),
    cosineSimilarity: float32Data(outputs, 'cosine_similarity'),
    imageEmbeds: float32Data(outputs, 'image_embeds'),
    textEmbeds: float32Data(outputs, 'text_embeds'),
  };
}

/** Every run compared the most similar of its own images. Of all images, only the most similar ones count. */
function keepMostSimilar(
  matchProbability: Float32Array,
  cosineSimilarity: Float32Array,
  { images, texts, comparedImages }: RetrievalBatch,
): void {
  for (let text = 0; text < texts.length; text += 1) {
    const places = images.map((_, image) => image * texts.length + text);
    places.sort((a, b) => (cosineSimilarity[b] ?? 0) - (cosineSimilarity[a] ?? 0));
    for (const place of places.slice(comparedImages)) matchProbability[place] = NOT_COMPARED;
  }
}
