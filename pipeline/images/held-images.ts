import type { RgbImage } from './rgb-image.ts';

/** Gives back the memory of an image. Apart from the image, because images are plain data that crosses threads. */
const releases = new WeakMap<RgbImage, () => void>();

/** Decodes an image whose bytes were acquired; it holds them until `releaseImages`. */
export async function decodeHolding(decode: () => Promise<RgbImage>, release: () => void): Promise<RgbImage> {
  try {
    const image = await decode();
    releases.set(image, release);
    return image;
  } catch (thrown) {
    release();
    throw thrown;
  }
}

/** Gives back the memory of images that nobody needs any more. Images that hold none are left alone. */
export function releaseImages(images: readonly RgbImage[]): void {
  for (const image of images) {
    releases.get(image)?.();
    releases.delete(image);
  }
}
