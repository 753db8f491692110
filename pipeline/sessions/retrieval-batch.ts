import type { RgbImage } from '../images/image-decode.ts';

/** Images that are compared with texts. */
export interface RetrievalBatch {
  readonly images: readonly RgbImage[];
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
