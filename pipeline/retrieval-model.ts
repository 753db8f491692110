import type { BlipCheckpoint } from '../checkpoint/checkpoint.ts';
import type { Weights } from '../checkpoint/weights.ts';
import { NOT_COMPARED, retrievalGraph } from '../models/retrieval.ts';
import { createImageResizer } from './image-resizer.ts';
import type { LoadedModel, LoadOptions, ModelBatch } from './loaded-model.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, int64s, joined, paddedRows } from './tensors.ts';
import { openWeightsSession } from './weights-session.ts';

/** Images that are compared with texts. */
export interface RetrievalBatch extends ModelBatch {
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
export async function loadRetrievalModel(
  checkpoint: BlipCheckpoint,
  weights: Weights,
  options: LoadOptions,
): Promise<LoadedModel<RetrievalBatch, RetrievalResult>> {
  const session = await openWeightsSession(retrievalGraph(checkpoint, weights), weights, options);
  const { imageSize } = checkpoint.config.vision;
  const resizer = await createImageResizer(checkpoint.imageProcessor, imageSize, options.threadCount);
  return {
    async run(batch) {
      const startMs = performance.now();
      const parts: Part[] = [];
      let resizeMs = 0;
      const imagesPerRun = Math.min(
        batch.imagesPerRun,
        Math.max(1, Math.floor(MAX_PAIRS_PER_RUN / batch.texts.length)),
      );
      for (let first = 0; first < batch.images.length; first += imagesPerRun) {
        const partStartMs = performance.now();
        const images = await resizer.resizeAll(batch.images.slice(first, first + imagesPerRun));
        resizeMs += performance.now() - partStartMs;
        parts.push(await compare(session, images, batch));
      }
      const [last] = parts.slice(-1);
      const cosineSimilarity = joined(parts.map((part) => part.cosineSimilarity));
      const matchProbability = joined(parts.map((part) => part.matchProbability));
      if (parts.length > 1) keepMostSimilar(matchProbability, cosineSimilarity, batch);
      return {
        matchProbability,
        cosineSimilarity,
        imageEmbeds: joined(parts.map((part) => part.imageEmbeds)),
        textEmbeds: last?.textEmbeds ?? new Float32Array(0),
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

/** Each pair is a text that is read with its image: beyond this, fewer images at a time. */
const MAX_PAIRS_PER_RUN = 512;

type Part = Omit<RetrievalResult, 'resizeMs' | 'computeMs'>;

/** One run: some images with all texts. */
async function compare(
  session: Session,
  images: RuntimeTensor,
  { texts, comparedImages }: RetrievalBatch,
): Promise<Part> {
  const { ids, lengths } = paddedRows(texts);
  const outputs = await session.run({
    images,
    input_ids: ids,
    text_length: lengths,
    compared_images: int64s([Math.min(comparedImages, images.shape[0] ?? 0)], []),
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
