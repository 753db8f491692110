import type { RgbImage } from '../images/rgb-image.ts';
import type { ImageCacheUse } from './image-cache.ts';

/** Images and texts; every image is compared with every text. */
export interface RetrievalBatch {
  readonly images: readonly RgbImage[];
  /** Whose images they are. */
  readonly client?: string | undefined;
  /** Each [CLS], the text and [SEP]. */
  readonly texts: readonly (readonly number[])[];
  /** How many images ITM compares with each text: those that are most similar to it. 0 for none. */
  readonly comparedImages: number;
  /** The most images that are computed at a time. */
  readonly imagesPerRun: number;
}

/** Row by row: probabilities and similarities [images, texts], embeddings [images, length] and [texts, length]. */
export interface RetrievalResult {
  /** -1 for pairs that ITM did not compare. */
  readonly matchProbability: Float32Array;
  readonly cosineSimilarity: Float32Array;
  readonly imageEmbeds: Float32Array;
  readonly textEmbeds: Float32Array;
  readonly resizeMs: number;
  readonly computeMs: number;
  /** Absent where there is no cache. */
  readonly imageCache?: ImageCacheUse | undefined;
}
