import { readFileSync } from 'node:fs';
import sharp, { type Sharp } from 'sharp';
import { expect, test } from 'vitest';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { imagePath } from '../../support/goldens.ts';
import { belowOf, mutateBytes } from '../../support/mutations.ts';

/** An image with wrong bytes has pixels, or an error that says so and repeats no words of the decoder. */

const ROUNDS = 200;
const options = { maxPixels: 1_000_000, maxSide: 10_000, applyExif: true };
const codes = ['IMAGE_CORRUPT', 'IMAGE_TOO_COMPLEX', 'IMAGE_TOO_LARGE', 'IMAGE_UNSUPPORTED'];

const picture = () => sharp(readFileSync(imagePath('rocket'))).resize(64, 48, { fit: 'fill' });
const formats: readonly (readonly [string, (image: Sharp) => Sharp])[] = [
  ['JPEG', (image) => image.withMetadata({ orientation: 6 }).jpeg()],
  ['PNG', (image) => image.png({ progressive: true })],
  ['WebP', (image) => image.webp()],
  ['GIF', (image) => image.gif()],
  ['AVIF', (image) => image.avif({ effort: 0 })],
  ['TIFF', (image) => image.tiff({ compression: 'lzw', tile: true, tileWidth: 32, tileHeight: 32 })],
  ['TIFF of JPEG', (image) => image.tiff({ compression: 'jpeg' })],
];

test.each(formats)('%s', { timeout: 60_000 }, async (name, encode) => {
  const original = await encode(picture()).toBuffer();
  const below = belowOf(20_261_121);
  const outcomes = { decoded: 0, refused: 0 };
  for (let round = 0; round < ROUNDS; round += 1) {
    const bytes = mutateBytes(original, below);
    try {
      const { width, height, data } = await decodeImage(bytes, options);
      expect(data).toHaveLength(width * height * 3);
      outcomes.decoded += 1;
    } catch (error) {
      const isKnown = error instanceof HandlerError && codes.includes(error.code);
      if (!isKnown) throw new Error(`Round ${round}: ${bytes.toString('base64')}`, { cause: error });
      expect(error.message).toMatch(/^Expected an?(?: [\w, ]+)? image( with| of|,)[^:/\\]*\.$/);
      outcomes.refused += 1;
    }
  }
  if (name !== 'PNG') expect(outcomes.decoded).toBeGreaterThan(ROUNDS / 50); // Its checksums find every change.
  expect(outcomes.refused).toBeGreaterThan(ROUNDS / 50);
});
