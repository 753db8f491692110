/** Red, green and blue, one byte each. */
export const CHANNELS = 3;

/** Decoded pixels, [height, width, 3], 0 to 255. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}
