import type { BlipCheckpoint } from '../checkpoint/checkpoint.ts';
import type { Weights } from '../checkpoint/weights.ts';
import { retrievalGraph } from '../models/retrieval.ts';
import { createImageResizer } from './image-resizer.ts';
import type { LoadedModel, LoadOptions, ModelBatch } from './loaded-model.ts';
import { float32Data, int64s, paddedRows } from './tensors.ts';
import { openWeightsSession } from './weights-session.ts';

/** Images that are compared with texts. */
export interface RetrievalBatch extends ModelBatch {
  /** Each [CLS], the text and [SEP]. */
  readonly texts: readonly (readonly number[])[];
  /** For each text, how many images, the most similar ones, ITM compares it with; 0 for none. */
  readonly comparedImages: number;
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
    async run({ images, texts, comparedImages }) {
      const startMs = performance.now();
      const resized = await resizer.resizeAll(images);
      const resizedMs = performance.now();
      const { ids, lengths } = paddedRows(texts);
      const outputs = await session.run({
        images: resized,
        input_ids: ids,
        text_length: lengths,
        compared_images: int64s([comparedImages], []),
      });
      return {
        matchProbability: float32Data(outputs, 'match_probability'),
        cosineSimilarity: float32Data(outputs, 'cosine_similarity'),
        imageEmbeds: float32Data(outputs, 'image_embeds'),
        textEmbeds: float32Data(outputs, 'text_embeds'),
        resizeMs: resizedMs - startMs,
        computeMs: performance.now() - resizedMs,
      };
    },
    async release() {
      await session.release();
      await resizer.release();
    },
  };
}
