import type { RgbImage } from '../rgb-image.ts';

/** The properties of an image that its header has. */
export interface ImageShape {
  /** As stored, before the orientation. */
  readonly width: number;
  readonly height: number;
  /** Progressive JPEG and interlaced PNG are decoded in several passes. */
  readonly isProgressive: boolean;
  readonly channels: number;
  /** The most memory that decoding takes for each pixel, where it depends on the file. */
  readonly bytesPerPixel?: number;
}

export interface DecodeOptions {
  /** The most pixels that an image may have. */
  readonly maxPixels: number;
  /** Turns the image by its orientation. */
  readonly applyExif: boolean;
}

/** An image whose header was read. */
export interface OpenedImage extends ImageShape {
  /** Bytes that each pixel takes until the image is let go of, where they are more than three. */
  readonly keptBytesPerPixel?: number;
  /** Whether it may hold more work than its size tells. */
  readonly isUnusual?: boolean;
  /** @throws an error of any kind when the file does not decode. */
  readonly decode: (options: DecodeOptions) => Promise<RgbImage>;
}

/**
 * Opens a file of one format.
 * @returns `undefined`, or throws an error of any kind, for a file that is not what its signature says.
 */
export type OpenImage = (bytes: Uint8Array) => Promise<OpenedImage | undefined>;
