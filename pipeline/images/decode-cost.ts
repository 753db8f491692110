/** The properties that decide how long an image decodes. */
export interface DecodeShape {
  readonly width: number;
  readonly height: number;
  /** In several passes: progressive JPEG, interlaced PNG. */
  readonly isProgressive?: boolean | undefined;
  readonly channels?: number | undefined;
}

/**
 * Nanoseconds for each pixel, of the slowest files of a format: noise of high quality. One core of a server of 2024;
 * docs/decisions/0029-where-images-are-decoded.md has the measurements.
 */
const pixelNanoseconds: Readonly<Record<string, number>> = {
  jpeg: 6,
  png: 6,
  webp: 45,
  gif: 12,
  avif: 170,
  tiff: 24,
  bmp: 7,
};
/** A progressive JPEG is kept as coefficients, which each scan goes through. */
const PROGRESSIVE_NANOSECONDS = 15;
const SCAN_NANOSECONDS = 1.2;
const INTERLACED_NANOSECONDS = 6;
/** Inks become light in a loop. */
const INK_NANOSECONDS = 10;
const INK_CHANNELS = 4;

/** Milliseconds that the slowest file of this shape takes. */
export function decodeCost(
  format: string,
  { width, height, isProgressive = false, channels = 0 }: DecodeShape,
  passes: number,
): number {
  const inPasses = format === 'jpeg' ? PROGRESSIVE_NANOSECONDS + SCAN_NANOSECONDS * passes : INTERLACED_NANOSECONDS;
  const inks = format === 'jpeg' && channels >= INK_CHANNELS ? INK_NANOSECONDS : 0;
  return (width * height * ((pixelNanoseconds[format] ?? 0) + (isProgressive ? inPasses : 0) + inks)) / 1_000_000;
}
