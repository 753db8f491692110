import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { readWhole, withRegularFile } from '../../checkpoint/files/regular-file.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { decodeImage } from '../images/image-decode.ts';
import type { ImageLimits } from '../images/image-limits.ts';
import type { RgbImage } from '../images/rgb-image.ts';

/** More pictures take longer and change little. */
export const MAX_PICTURES = 64;

/** More than any picture within `limits` has. */
const MAX_PICTURE_BYTES = 200_000_000;

const limits: ImageLimits = { maxPixels: 50_000_000, maxSide: 16_384 };
const pictureName = /\.(?:jpe?g|png|webp|gif|avif|tiff?|bmp)$/i;

/**
 * The pictures of a folder, by their names' endings: all, or `MAX_PICTURES` that lie evenly among them.
 * @throws HandlerError `INVALID_REQUEST` when it cannot be read, or holds none.
 */
export function picturesOf(folder: string): readonly string[] {
  const names = namesIn(folder).filter((name) => pictureName.test(name));
  if (names.length === 0)
    throw new HandlerError('INVALID_REQUEST', `${folder}: expected pictures to calibrate with, got none.`);
  const count = Math.min(names.length, MAX_PICTURES);
  const chosen = Array.from({ length: count }, (_, index) => names[Math.floor((index * names.length) / count)] ?? '');
  return chosen.map((name) => join(folder, name));
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
    throw new HandlerError('INVALID_REQUEST', `${folder}: expected a folder of pictures${code}.`, { cause });
  }
}

/** @throws HandlerError of the file or of the image, whose message begins with the path. */
export async function readPicture(path: string): Promise<RgbImage> {
  const bytes = readBytes(path);
  try {
    return await decodeImage(bytes, { ...limits, applyExif: true });
  } catch (cause) {
    if (!(cause instanceof HandlerError)) throw cause;
    throw new HandlerError(cause.code, `${path}: ${cause.message}`, { cause });
  }
}

/** A named pipe with the name of a picture would block for ever, so only regular files are read. */
function readBytes(path: string): Buffer {
  try {
    return withRegularFile(path, (file) => readWhole(file, MAX_PICTURE_BYTES));
  } catch (cause) {
    if (!(cause instanceof CheckpointError)) throw cause;
    throw new HandlerError('INVALID_REQUEST', cause.message, { cause });
  }
}
