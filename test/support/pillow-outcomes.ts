import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { decodeImage } from '../../pipeline/images/image-decode.ts';
import { HandlerError } from '../../protocol/errors.ts';

/** Pictures with Pillow's outcomes: test/fixtures/make_odd_pictures.py and make_mutated_pictures.py. */

const folder = new URL('../fixtures/pictures/', import.meta.url);
const options = { maxPixels: 1_000_000, maxSide: 100_000, applyExif: true };

export function readPicture(name: string): Buffer {
  return readFileSync(new URL(name, folder));
}

export function readPictureGoldens<Goldens>(name: string): Goldens {
  // The scripts write what the type says.
  return JSON.parse(readPicture(name).toString('utf8')) as Goldens;
}

/** The size and the start of the SHA-256 of the pixels, "refused", or "too large", as the scripts write it. */
export async function outcomeOf(bytes: Uint8Array): Promise<string> {
  try {
    const { width, height, data } = await decodeImage(bytes, options);
    return `${width} x ${height} ${createHash('sha256').update(data).digest('hex').slice(0, 24)}`;
  } catch (error) {
    if (!(error instanceof HandlerError)) throw error;
    return error.code === 'IMAGE_TOO_LARGE' ? 'too large' : 'refused';
  }
}
