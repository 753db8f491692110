import type { RgbImage } from '../images/rgb-image.ts';
import type { ImageCacheUse } from './image-cache.ts';

/** Rows that are computed together. Each row asks about one image, and all of them share the settings. */
export interface RowBatch<Row, Settings> {
  readonly images: readonly RgbImage[];
  /** Whose each image is; all are one client's where this is absent. */
  readonly clients?: readonly (string | undefined)[];
  readonly rows: readonly OfImage<Row>[];
  readonly settings: Settings;
}

/** `image` is an index into the images of the batch. */
export type OfImage<Row> = Row & { readonly image: number };

export interface RowResults<Result> {
  /** One result for each row. */
  readonly results: readonly Result[];
  readonly resizeMs: number;
  readonly computeMs: number;
  /** Absent where there is no cache. */
  readonly imageCache?: ImageCacheUse | undefined;
}

/** A sequence of tokens that answers a row. */
export interface Sequence {
  /** Start token, prompt and text, up to the end token. */
  readonly tokenIds: readonly number[];
  /** One for each token; 0 for start token and prompt. */
  readonly tokenLogprobs: readonly number[];
  /** How many of the tokens were generated, or scored. */
  readonly generatedCount: number;
  readonly score: number;
}

/** Rows whose `image` counts among the images that they ask about, and those images, as indices into the batch's. */
export function withOwnImages<Row extends { readonly image: number }>(
  rows: readonly Row[],
): { readonly rows: readonly Row[]; readonly images: readonly number[] } {
  const images = [...new Set(rows.map(({ image }) => image))];
  return { images, rows: rows.map((row) => ({ ...row, image: images.indexOf(row.image) })) };
}
