import type { RgbImage } from '../images/rgb-image.ts';
import type { ImageCacheUse } from './image-cache.ts';

/** Images and texts to encode. Together they are the batch's items: the images first, then the texts. */
export interface ClipBatch {
  readonly images: readonly RgbImage[];
  /** Whose images they are. */
  readonly client?: string | undefined;
  /** The most images, or texts, that are computed at a time. */
  readonly itemsPerRun: number;
  readonly texts: readonly ClipText[];
  /** Items to compare: each query with each candidate. */
  readonly ranking?: { readonly queries: readonly number[]; readonly candidates: readonly number[] };
}

export interface ClipText {
  readonly inputIds: readonly number[];
  /** Position of the token whose state becomes the embedding of the text. */
  readonly endPosition: number;
}

export interface ClipResult {
  /** [items, length]: as CLIP computes them, and of unit length. */
  readonly embeds: Float32Array;
  readonly normalizedEmbeds: Float32Array;
  /** [queries, candidates]. */
  readonly ranking?: { readonly cosineSimilarity: Float32Array; readonly probability: Float32Array };
  readonly resizeMs: number;
  readonly computeMs: number;
  /** Absent where there is no cache. */
  readonly imageCache?: ImageCacheUse | undefined;
}
