import { readGifFrame } from './gif-frame.ts';
import type { OpenedImage } from './opened-image.ts';
import { decodeRgb, openFile } from './sharp-images.ts';

/** Opens the first frame of a GIF. Its decoder sees no other. */
export async function openGif(bytes: Uint8Array): Promise<OpenedImage | undefined> {
  const frame = readGifFrame(bytes);
  if (frame === undefined) return undefined;
  const { makeFile, width, height, left, top, canvas, background } = frame;
  const margins = { left, top, right: canvas.width - left - width, bottom: canvas.height - top - height };
  return {
    ...canvas,
    ...{ isProgressive: false, channels: 4 },
    decode: ({ maxPixels }) =>
      decodeRgb(
        openFile(makeFile(), maxPixels, 'error')
          .removeAlpha()
          .extend({ ...margins, background }),
      ),
  };
}
