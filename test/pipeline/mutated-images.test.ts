import { readFileSync } from 'node:fs';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import sharp, { type Sharp } from 'sharp';
import { expect, test } from 'vitest';
import { decodeImage } from '../../pipeline/image-decode.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { imagePath } from '../support/goldens.ts';

/** Whatever is wrong with an image, it has pixels or an error that says so, and nothing of the decoder. */

const ROUNDS = 200;
const options = { maxPixels: 1_000_000, maxSide: 10_000, applyExif: true };
const codes = ['IMAGE_CORRUPT', 'IMAGE_TOO_LARGE', 'IMAGE_UNSUPPORTED'];

const picture = () => sharp(readFileSync(imagePath('rocket'))).resize(64, 48, { fit: 'fill' });
const formats: readonly (readonly [string, (image: Sharp) => Sharp])[] = [
  ['JPEG', (image) => image.withMetadata({ orientation: 6 }).jpeg()],
  ['PNG', (image) => image.png({ progressive: true })],
  ['WebP', (image) => image.webp()],
  ['GIF', (image) => image.gif()],
  ['AVIF', (image) => image.avif({ effort: 0 })],
];

/** A copy with some bytes changed, cut out or doubled, or with its end cut off; half of the changes are in its first 100 bytes. */
function mutate(original: Buffer, below: (end: number) => number): Buffer {
  let bytes: Buffer = Buffer.from(original);
  for (let change = below(4); change >= 0 && bytes.length > 0; change -= 1) {
    const at = below(below(2) === 0 ? bytes.length : Math.min(100, bytes.length));
    const length = 1 + below(16);
    const kind = below(8);
    if (kind === 0) bytes = bytes.subarray(0, at);
    else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    else if (kind === 3) bytes.writeUInt8([0, 127, 128, 255][below(4)] ?? 0, at);
    else bytes.writeUInt8(below(256), at);
  }
  return bytes;
}

test.each(formats)('%s', { timeout: 60_000 }, async (name, encode) => {
  const original = await encode(picture()).toBuffer();
  const generator = xoroshiro128plus(20_261_121);
  const outcomes = { decoded: 0, refused: 0 };
  for (let round = 0; round < ROUNDS; round += 1) {
    const bytes = mutate(original, (end) => uniformInt(generator, 0, end - 1));
    try {
      const { width, height, data } = await decodeImage(bytes, options);
      expect(data).toHaveLength(width * height * 3);
      outcomes.decoded += 1;
    } catch (error) {
      const isKnown = error instanceof HandlerError && codes.includes(error.code);
      if (!isKnown) throw new Error(`Round ${round}: ${bytes.toString('base64')}`, { cause: error });
      expect(error.message).toMatch(/^Expected an? [\w, ]+ image( with| of|,)[^:/\\]*\.$/);
      outcomes.refused += 1;
    }
  }
  if (name !== 'PNG') expect(outcomes.decoded).toBeGreaterThan(ROUNDS / 50); // Its checksums see everything.
  expect(outcomes.refused).toBeGreaterThan(ROUNDS / 50);
});
